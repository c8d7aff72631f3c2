/* SPDX-License-Identifier: Apache-2.0
 * Fuzz target: netstrings; the first byte: whether they are texts. */
#include "frame.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    ipcx_framing framing = {.kind = IPCX_FRAMING_NETSTRING, .max_message = 1000};
    if (size > 0) {
        framing.text = data[0] & 1;
        fuzz_stream(&framing, data + 1, size - 1);
    }
    return 0;
}
