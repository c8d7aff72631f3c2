/* SPDX-License-Identifier: Apache-2.0
 * Loans over shared memory, as in ipcx__transport: in place in the rings (ring_loan.h).
 * Invariant: as long as a place is lent the mapping stays, for only `destroy` takes it away. */
#ifndef IPCX_LINK_CHAN_SHM_LOAN_H
#define IPCX_LINK_CHAN_SHM_LOAN_H

#include "link/shared/chan_shm_parts.h"

/* ---- chan_shm_send.c */
ipcx_status ipcx__shm_reserve(ipcx_chan *chan, size_t size, ipcx_deadline deadline, ipcx_loan *loan,
                              ipcx_error *err);
ipcx_status ipcx__shm_commit(ipcx_chan *chan, ipcx_loan *loan, const ipcx_message *message,
                             ipcx_deadline deadline, ipcx_sending *sending, ipcx_error *err);
void ipcx__shm_cancel(ipcx_chan *chan, ipcx_loan *loan);

/* ---- chan_shm_receive.c */
ipcx_status ipcx__shm_receive_view(ipcx_chan *chan, ipcx_loan *view, ipcx_deadline deadline,
                                   ipcx_error *err);
ipcx_status ipcx__shm_return_view(ipcx_chan *chan, ipcx_loan *view, ipcx_deadline deadline);

/* ---- chan_shm_trim.c */
ipcx_status ipcx__shm_trim(ipcx_chan *chan, size_t *bytes, ipcx_error *err);

#endif
