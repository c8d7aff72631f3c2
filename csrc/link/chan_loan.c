/* SPDX-License-Identifier: Apache-2.0
 * Loans over every transport: in place where the transport lends, else in private memory.
 * Invariant: `in_place` says which; a loan that is over is {0}. */
#include "ipcx/loan.h"

#include <string.h>

#include "ipcx/alloc.h"
#include "link/chan.h"

static void finish(ipcx_loan *loan)
{
    ipcx_free(loan->memory);
    *loan = (ipcx_loan){0};
}

/* ---- to send */

ipcx_status ipcx__loan_private(ipcx_chan *chan, size_t size, ipcx_loan *loan, ipcx_error *err)
{
    size_t receive, most;
    void *memory;
    chan->transport->max_message(chan, &receive, &most);
    if (size > most) {
        return ipcx_error_set(err, IPCX_TOO_LARGE, 0, "reserve",
                              "%zu bytes; the peer of %s takes at most %zu", size, chan->url, most);
    }
    memory = ipcx_alloc(size);
    if (memory == NULL) {
        return ipcx_error_set(err, IPCX_NOMEM, 0, "reserve", "no memory for %zu bytes", size);
    }
    *loan = (ipcx_loan){.data = memory, .size = size, .chan = chan, .memory = memory};
    return IPCX_OK;
}

ipcx_status ipcx_chan_reserve(ipcx_chan *chan, size_t size, ipcx_deadline deadline, ipcx_loan *loan,
                              ipcx_error *err)
{
    ipcx__call call = {.chan = chan, .op = "reserve", .deadline = deadline, .err = err};
    ipcx_status status = ipcx__call_enter(&call);
    if (status != IPCX_OK) {
        return ipcx__call_answer(&call, status, 0);
    }
    status = chan->transport->reserve != NULL
                 ? chan->transport->reserve(chan, size, deadline, loan, err)
                 : ipcx__loan_private(chan, size, loan, err);
    return ipcx__call_leave(&call, status, size);
}

static ipcx_status commit_in_place(ipcx_loan *loan, const ipcx_message *message,
                                   ipcx_deadline deadline, ipcx_sending *sending, ipcx_error *err)
{
    ipcx_chan *chan = loan->chan;
    ipcx__call call = {.chan = chan, .op = "commit", .deadline = deadline, .err = err};
    ipcx_sending local = {0};
    ipcx_status status = ipcx__call_enter(&call);
    if (status != IPCX_OK) {
        return ipcx__call_answer(&call, status, 0);
    }
    do {
        status = chan->transport->commit(chan, loan, message, deadline,
                                         sending != NULL ? sending : &local, err);
    } while (status == IPCX_INTR && sending == NULL);
    return ipcx__call_leave(&call, status, message->size);
}

ipcx_status ipcx_chan_commit(ipcx_loan *loan, size_t size, unsigned flags, ipcx_deadline deadline,
                             ipcx_sending *sending, ipcx_error *err)
{
    const ipcx_message message = {.data = loan->data, .size = size, .flags = flags};
    ipcx_status status;
    if (loan->chan == NULL || size > loan->size) {
        return ipcx_error_set(err, IPCX_INVALID, 0, "commit", "%zu bytes of %zu reserved", size,
                              loan->size);
    }
    status = loan->in_place ? commit_in_place(loan, &message, deadline, sending, err)
                            : ipcx_chan_send(loan->chan, &message, deadline, sending, err);
    if (status == IPCX_OK) {
        finish(loan);
    }
    return status;
}

void ipcx_chan_cancel(ipcx_loan *loan)
{
    if (loan->chan != NULL && loan->in_place && ipcx__chan_is_mine(loan->chan)) {
        loan->chan->transport->cancel(loan->chan, loan);
    }
    finish(loan);
}

/* ---- received */

/* One that is not lent in place: copied, and with that received. */
static ipcx_status copy(ipcx_chan *chan, ipcx_loan *view, ipcx_deadline deadline, ipcx_error *err)
{
    ipcx_message message;
    void *memory;
    ipcx_status status = ipcx_chan_receive(chan, &message, deadline, err);
    if (status != IPCX_OK) {
        return status;
    }
    *view = (ipcx_loan){.data = (void *)(uintptr_t)message.data,
                        .size = message.size,
                        .flags = message.flags,
                        .chan = chan};
    if ((message.flags & (IPCX_MESSAGE_OBJECT | IPCX_MESSAGE_END)) == 0) {
        memory = ipcx_alloc(message.size);
        if (memory == NULL) {
            size_t size = message.size;
            message.flags |= IPCX__MESSAGE_KEEP;
            ipcx_chan_release(chan, &message);
            *view = (ipcx_loan){0};
            return ipcx_error_set(err, IPCX_NOMEM, 0, "receive", "no memory for %zu bytes", size);
        }
        if (message.size > 0) {
            memcpy(memory, message.data, message.size);
        }
        view->data = view->memory = memory;
    }
    ipcx_chan_release(chan, &message);
    return status;
}

ipcx_status ipcx_chan_receive_view(ipcx_chan *chan, ipcx_loan *view, ipcx_deadline deadline,
                                   ipcx_error *err)
{
    ipcx__call call = {.chan = chan, .op = "receive", .deadline = deadline, .err = err};
    ipcx_status status;
    if (chan->transport->receive_view == NULL) {
        return copy(chan, view, deadline, err);
    }
    status = ipcx__call_enter(&call);
    if (status != IPCX_OK) {
        return ipcx__call_answer(&call, status, 0);
    }
    status = chan->transport->receive_view(chan, view, deadline, err);
    return ipcx__call_leave(&call, status, status == IPCX_OK ? view->size : 0);
}

ipcx_status ipcx_chan_return_view(ipcx_loan *view, ipcx_deadline deadline)
{
    ipcx_status status = IPCX_OK;
    /* Of a closed channel, and in a child that inherited it, nobody waits for the place. */
    if (view->slot != 0 && ipcx__chan_is_mine(view->chan) && ipcx__chan_pass(view->chan)) {
        do {
            status = view->chan->transport->return_view(view->chan, view, deadline);
        } while (status == IPCX_INTR);
        ipcx__chan_pass_out(view->chan);
        if (status == IPCX_AGAIN) {
            return status;
        }
    }
    finish(view);
    return IPCX_OK;
}

/* ---- memory */

ipcx_status ipcx_chan_trim(ipcx_chan *chan, size_t *bytes, ipcx_error *err)
{
    ipcx__call call = {.chan = chan, .op = "trim", .deadline = IPCX_FOREVER, .err = err};
    size_t given = 0;
    ipcx_status status = ipcx__call_enter(&call);
    if (status != IPCX_OK) {
        return ipcx__call_answer(&call, status, 0);
    }
    if (chan->transport->trim != NULL) {
        status = chan->transport->trim(chan, &given, err);
    }
    if (bytes != NULL) {
        *bytes = given;
    }
    return ipcx__call_leave(&call, status, given);
}
