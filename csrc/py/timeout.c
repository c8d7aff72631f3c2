/* SPDX-License-Identifier: Apache-2.0
 * Seconds to a deadline.
 * Invariant: a time-out above 0 never becomes a poll, however short it is. */
#include "py/timeout.h"

#include <math.h>

#define LONGEST 9e9 /* seconds: 285 years, as much as nanoseconds in 64 bits can say */

bool ipcx_py_deadline(PyObject *timeout, ipcx_deadline *deadline)
{
    double seconds;
    if (timeout == NULL || timeout == Py_None) {
        *deadline = IPCX_FOREVER;
        return true;
    }
    seconds = PyFloat_AsDouble(timeout);
    if (seconds == -1.0 && PyErr_Occurred()) {
        return false;
    }
    if (!(seconds >= 0)) { /* so that NaN is refused, too */
        PyErr_Format(PyExc_ValueError,
                     "timeout is %R: it is None (wait for ever), 0 (poll) or seconds", timeout);
        return false;
    }
    if (seconds >= LONGEST) {
        *deadline = IPCX_FOREVER;
    } else {
        *deadline = seconds > 0 ? ipcx_deadline_after((int64_t)ceil(seconds * 1e9)) : IPCX_NOW;
    }
    return true;
}
