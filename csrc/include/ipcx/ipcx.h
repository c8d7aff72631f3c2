/* SPDX-License-Identifier: Apache-2.0
 * Everything at once: the public C API of ipcx, bottom up.
 * Invariant: every public header is here; tests/test_lib.py compares with the folder. */
#ifndef IPCX_IPCX_H
#define IPCX_IPCX_H

#include "ipcx/api.h"

#include "ipcx/status.h"
#include "ipcx/status_table.h"
#include "ipcx/explain_table.h"
#include "ipcx/error.h"
#include "ipcx/clock.h"
#include "ipcx/alloc.h"
#include "ipcx/buf.h"
#include "ipcx/endian.h"
#include "ipcx/crc32c.h"
#include "ipcx/trace.h"

#include "ipcx/fd.h"
#include "ipcx/addr.h"
#include "ipcx/gate.h"
#include "ipcx/sock.h"
#include "ipcx/sock_unix.h"
#include "ipcx/pipe.h"
#include "ipcx/sig.h"
#include "ipcx/spawn.h"
#include "ipcx/sync.h"
#include "ipcx/sync_wait.h"
#include "ipcx/mapfile.h"
#include "ipcx/file.h"
#include "ipcx/watch.h"

#include "ipcx/frame.h"

#include "ipcx/url.h"
#include "ipcx/layer.h"
#include "ipcx/chan.h"
#include "ipcx/loan.h"
#include "ipcx/connect.h"
#include "ipcx/mux.h"
#include "ipcx/mux_info.h"
#include "ipcx/log.h"

#endif
