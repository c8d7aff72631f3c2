/* SPDX-License-Identifier: Apache-2.0
 * Who may be at the other side.
 * Invariant: it is the kernel that says whose a socket is, not the peer. */
#include "link/admit.h"
#include "link/address/dial.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "ipcx/alloc.h"
#include "link/address/url.h"
#include "wire/proof.h"

static void *copy_of(const void *bytes, size_t size, ipcx_error *err)
{
    void *copy = ipcx_alloc(size);
    if (copy == NULL) {
        (void)ipcx_error_set(err, IPCX_NOMEM, ENOMEM, "options", "%zu bytes", size);
    } else {
        memcpy(copy, bytes, size);
    }
    return copy;
}

ipcx_status ipcx__admit_keep(ipcx_chan_options *options, ipcx_error *err)
{
    const void *key = options->authkey, *uids = options->allow_uids;
    options->authkey = NULL;
    options->allow_uids = NULL;
    if (key != NULL) {
        options->authkey = copy_of(key, options->authkey_size, err);
    }
    if (uids != NULL) {
        options->allow_uids =
            copy_of(uids, options->allow_uids_count * sizeof *options->allow_uids, err);
    }
    if ((key != NULL && options->authkey == NULL) ||
        (uids != NULL && options->allow_uids == NULL)) {
        ipcx__admit_forget(options);
        return IPCX_NOMEM;
    }
    return IPCX_OK;
}

void ipcx__admit_forget(ipcx_chan_options *options)
{
    void *key = (void *)(uintptr_t)options->authkey;
    if (key != NULL) {
        explicit_bzero(key, options->authkey_size);
    }
    ipcx_free(key);
    ipcx_free((void *)(uintptr_t)options->allow_uids);
    options->authkey = NULL;
    options->allow_uids = NULL;
}

ipcx_status ipcx__admit_scheme(ipcx_scheme scheme, const ipcx_chan_options *options, const char *op,
                               const char *url, ipcx_error *err)
{
    if (options->authkey == NULL || ipcx__is_tcp(scheme) || scheme == IPCX_SCHEME_UNIX) {
        return IPCX_OK;
    }
    return ipcx__url_fail(err, IPCX_UNSUPPORTED, EOPNOTSUPP, op, url,
                          "an authkey is proven over tcp://, tls:// and unix:// only");
}

bool ipcx__admit_user(int fd, const ipcx_chan_options *options, unsigned *uid)
{
    struct ucred peer = {.uid = (uid_t)-1};
    socklen_t size = sizeof peer;
    uid_t mine = geteuid();
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) < 0) {
        peer.uid = (uid_t)-1;
    }
    *uid = (unsigned)peer.uid;
    if (options->allow_uids == NULL && mine == 0) {
        return true;
    }
    for (size_t i = 0; options->allow_uids != NULL && i < options->allow_uids_count; i++) {
        if (options->allow_uids[i] == *uid) {
            return true;
        }
    }
    return peer.uid == mine || peer.uid == 0;
}

void ipcx__admit_refuse(int fd)
{
    uint8_t refusal[IPCX__REFUSAL_SIZE];
    ipcx__proof_refusal(IPCX__NO_USER, refusal);
    (void)!send(fd, refusal, sizeof refusal, MSG_DONTWAIT | MSG_NOSIGNAL);
}
