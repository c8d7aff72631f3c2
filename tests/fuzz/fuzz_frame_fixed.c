/* SPDX-License-Identifier: Apache-2.0
 * Fuzz target: messages of one size, which is in the first byte, with whether they are texts. */
#include "frame.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    ipcx_framing framing = {.kind = IPCX_FRAMING_FIXED, .max_message = 1000};
    if (size > 0) {
        framing.text = data[0] & 1;
        framing.size = 1u + data[0] / 2;
        fuzz_stream(&framing, data + 1, size - 1);
    }
    return 0;
}
