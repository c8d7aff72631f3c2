/* SPDX-License-Identifier: Apache-2.0
 * _core.Tape: a file of what this process did, appended to through memory: no call of the kernel
 * for a call of the program.
 * Invariant: a record's size is written last, so what a killed process leaves ends with a whole
 * record; a chunk has its place on the disk before it is mapped, so no append faults. */
#ifndef IPCX_PY_TAPE_H
#define IPCX_PY_TAPE_H

#include "py/state.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The file: its head (IPCX_PY_TAPE_HEAD bytes), then chunks. Each begins with its own size (8
 * bytes) and holds records, each a multiple of 8 bytes; behind the last stands a size of 0.
 * ipcx/lab/_tape.py reads it. */
#define IPCX_PY_TAPE_HEAD 4096
#define IPCX_PY_TAPE_MAGIC "ipcxtap1"

typedef struct ipcx_py_tape_head {
    char magic[8];
    int64_t left;   /* so many calls are still kept */
    int64_t missed; /* and so many were not */
} ipcx_py_tape_head;

/* Behind it `data` bytes of what moved, `address` bytes of text, `error` bytes of text. A record
 * with op 0 is a row: `moved` bytes of JSON. */
typedef struct ipcx_py_tape_record {
    uint32_t size; /* of the whole; 0: not written yet */
    uint8_t op;    /* its place in the names of py_trace.c and _tape.py */
    uint8_t reserved;
    uint16_t data;
    int64_t begun, ended; /* CLOCK_MONOTONIC; -1: before the record did */
    int64_t number;       /* of the socket or channel, as the rows have it */
    int64_t moved;        /* bytes; -1: nothing that could be counted */
    uint16_t address, error;
    uint32_t unused;
} ipcx_py_tape_record;

/* The three parts behind a record, in their order. */
typedef struct ipcx_py_tape_parts {
    const void *data, *address, *error;
} ipcx_py_tape_parts;

/* ipcx_py_tape_call: appends a call, or counts it as missed. `tape` is one (ipcx_py_is_tape); the
 * record's size is found here. */
bool ipcx_py_is_tape(const ipcx_py_state *state, PyObject *tape);
void ipcx_py_tape_call(PyObject *tape, const ipcx_py_tape_record *record, ipcx_py_tape_parts parts);

#endif
