/* SPDX-License-Identifier: Apache-2.0
 * What a channel says of itself: counters, address, limits. Any time, in any process.
 * Invariant: nothing here waits or changes the channel. */
#include "link/chan.h"

void ipcx_chan_get_stats(ipcx_chan *chan, ipcx_chan_stats *stats)
{
    *stats = (ipcx_chan_stats){.sent = chan->sent,
                               .sent_bytes = chan->sent_bytes,
                               .received = chan->received,
                               .received_bytes = chan->received_bytes,
                               .send_waits = chan->send_waits,
                               .receive_waits = chan->receive_waits,
                               .timeouts = chan->timeouts,
                               .owed = chan->owed};
    if (chan->transport->count != NULL) {
        chan->transport->count(chan, stats);
    }
    if (chan->transport->lossy != NULL) {
        chan->transport->lossy(chan, stats);
    }
}

ipcx_status ipcx_chan_unreceived(ipcx_chan *chan, uint64_t *number, ipcx_error *err)
{
    if (chan->transport->unreceived == NULL) {
        return ipcx_error_set(err, IPCX_UNSUPPORTED, 0, "unreceived",
                              "%s cannot know what its peer has received", chan->url);
    }
    *number = chan->transport->unreceived(chan);
    return IPCX_OK;
}

const char *ipcx_chan_url(const ipcx_chan *chan)
{
    return chan->url;
}

void ipcx_chan_max_message(ipcx_chan *chan, size_t *receive, size_t *send)
{
    chan->transport->max_message(chan, receive, send);
}

bool ipcx__chan_never_shared(const ipcx_chan *chan)
{
    return chan->made_in == ipcx__fork_generation() && chan->forks_before == ipcx__fork_count() &&
           !atomic_load(&chan->exported);
}
