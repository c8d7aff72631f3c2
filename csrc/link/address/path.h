/* SPDX-License-Identifier: Apache-2.0
 * The path a Unix listener lives at: claimed by a lock, bound, and removed again.
 *
 *     app.sock        the socket, made by bind(2)
 *     app.sock.lock   held by flock(2) as long as the listener lives; the holder's pid is in it
 *
 * The kernel releases the lock when its holder dies, whatever killed it; so a socket whose lock is
 * free was left behind and may be replaced.
 * Invariant: nothing is removed but a socket of this user's that nobody listens on, and what this
 * object has made itself. */
#ifndef IPCX_LINK_PATH_H
#define IPCX_LINK_PATH_H

#include <stdbool.h>
#include <sys/types.h>

#include "ipcx/addr.h"
#include "ipcx/error.h"

typedef struct ipcx__path {
    char path[108]; /* of the socket; "" when there is none */
    int dir, lock;  /* its folder, and the lock's descriptor; -1: none */
    dev_t device;   /* which file bind(2) made */
    ino_t inode;
    bool bound;
} ipcx__path;

/* ipcx__path_claim: locks `path`, or a new one in the user's runtime directory when it is "", and
 * removes a socket that a dead listener left there. ADDRESS_IN_USE: somebody listens there; the
 * holder's pid is in the detail when it is known. SYSTEM: with EPERM it is refused (a link, another
 * user's, no socket), else what the file system says. */
ipcx_status ipcx__path_claim(ipcx__path *self, const char *path, ipcx_error *err);

/* ipcx__path_bind: binds `fd` to the claimed path, whose mode is `mode` whatever the umask: 0600
 * and nobody else may connect. */
ipcx_status ipcx__path_bind(ipcx__path *self, int fd, mode_t mode, ipcx_error *err);

/* ipcx__path_release: removes what was made, gives the lock back. Idempotent. */
void ipcx__path_release(ipcx__path *self);

/* ipcx__path_forget: in a forked child: closes the descriptors and leaves the files alone. Safe in
 * an at-fork handler. */
void ipcx__path_forget(ipcx__path *self);

/* ipcx__runtime_folder: where those names live; it is this user's alone. SYSTEM: there is none. */
ipcx_status ipcx__runtime_folder(char *folder, size_t cap, ipcx_error *err);

/* ipcx__runtime_path: a name that nobody has, in $XDG_RUNTIME_DIR/ipcx; where there is no such
 * folder of this user's alone, in /tmp/ipcx-UID. Removes what killed listeners left there under
 * names of this kind. SYSTEM: there is no such folder either (EPERM). */
ipcx_status ipcx__runtime_path(char *path, size_t cap, ipcx_error *err);

/* ipcx__runtime_named: the path of shm://name in the same folder; sweeps it too, for a listener.
 * INVALID_URL: it is too long. */
ipcx_status ipcx__runtime_named(const char *name, bool listens, char *path, size_t cap,
                                ipcx_error *err);

#endif
