/* SPDX-License-Identifier: Apache-2.0
 * Fuzz target: buf against a plain array. Each two bytes are one operation and its size. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "ipcx/buf.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define LIMIT 3000

static void must(int condition)
{
    if (!condition) {
        abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint8_t model[LIMIT];
    size_t held = 0, i;
    uint8_t next = 0;
    ipcx_buf buf;
    ipcx_buf_init(&buf, LIMIT);
    for (i = 0; i + 1 < size; i += 2) {
        size_t n = (size_t)data[i + 1] * 7;
        if (data[i] % 2 == 0) {
            uint8_t *room;
            ipcx_status status = ipcx_buf_reserve(&buf, n, &room, NULL);
            must((status == IPCX_OK) == (held + n <= LIMIT));
            if (status == IPCX_OK) {
                size_t k;
                for (k = 0; k < n; k++) {
                    room[k] = model[held + k] = next++;
                }
                ipcx_buf_commit(&buf, n);
                held += n;
            }
        } else {
            n = n < held ? n : held;
            ipcx_buf_consume(&buf, n);
            memmove(model, model + n, held - n);
            held -= n;
        }
        must(ipcx_buf_len(&buf) == held && buf.cap <= LIMIT);
        must(held == 0 || memcmp(ipcx_buf_data(&buf), model, held) == 0);
    }
    ipcx_buf_fini(&buf);
    return 0;
}
