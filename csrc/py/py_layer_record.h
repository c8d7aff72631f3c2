/* SPDX-License-Identifier: Apache-2.0
 * What is known of TLS without OpenSSL: where a record ends (RFC 8446, 5.1: one byte of type, two
 * of version, two of length), and what an alert looks like.
 * Invariant: nothing is believed of it; whether it is TLS at all OpenSSL decides. */
#ifndef IPCX_PY_LAYER_RECORD_H
#define IPCX_PY_LAYER_RECORD_H

#include <stddef.h>
#include <stdint.h>

#define IPCX_PY_RECORD_HEADER 5

/* Where in a record a stream is. */
typedef struct ipcx_py_record {
    size_t have; /* bytes of it that have come; 0: between two */
    size_t body; /* its length, once the header is there */
} ipcx_py_record;

/* ipcx_py_record_pass: `size` bytes more have come. */
static inline void ipcx_py_record_pass(ipcx_py_record *self, const uint8_t *bytes, size_t size)
{
    size_t at = 0;
    while (at < size) {
        if (self->have < IPCX_PY_RECORD_HEADER) {
            uint8_t byte = bytes[at++];
            self->body = self->have < 3 ? 0 : self->body << 8 | byte;
            self->have++;
        } else {
            size_t left = IPCX_PY_RECORD_HEADER + self->body - self->have;
            size_t some = left < size - at ? left : size - at;
            self->have += some;
            at += some;
        }
        if (self->have >= IPCX_PY_RECORD_HEADER &&
            self->have == IPCX_PY_RECORD_HEADER + self->body) {
            self->have = 0;
        }
    }
}

/* An alert, fatal, "unexpected message": what a stranger hears of whom OpenSSL does not answer. */
static const uint8_t ipcx_py_record_alert[] = {21, 3, 3, 0, 2, 2, 10};

#endif
