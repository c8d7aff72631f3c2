/* SPDX-License-Identifier: Apache-2.0
 * The method send: by the short way where that goes, else by py_chan_send.c.
 * Invariant: as py_chan_quick.h says. */
#include "py/py_chan_quick.h"

PyObject *ipcx_py_chan_send(IPCX_PY_FAST)
{
    if (IPCX_LIKELY(nargs == 1 && kwnames == NULL) &&
        IPCX_LIKELY(ipcx_py_chan_push((ipcx_py_chan *)op, args[0]) == IPCX_OK)) {
        Py_RETURN_NONE;
    }
    return ipcx_py_chan_send_slowly(op, args, nargs, kwnames);
}
