/* SPDX-License-Identifier: Apache-2.0
 * Marked places where a process may be killed: a test defines ipcx__crash_point, which is called at
 * each, and kills at the one it wants to see. Elsewhere nothing is compiled. */
#ifndef IPCX_BASE_CRASH_H
#define IPCX_BASE_CRASH_H

#ifdef IPCX_TEST_ALLOC
__attribute__((weak)) void ipcx__crash_point(const char *name);
#define IPCX_CRASH_POINT(name) (ipcx__crash_point != NULL ? ipcx__crash_point(name) : (void)0)
#else
#define IPCX_CRASH_POINT(name) ((void)0)
#endif

#endif
