/* SPDX-License-Identifier: Apache-2.0
 * Fuzz target: messages behind a length; the first byte: its width, byte order, whether they are
 * texts. */
#include "frame.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    ipcx_framing framing = {.kind = IPCX_FRAMING_PREFIX, .max_message = 1000};
    if (size > 0) {
        framing.text = data[0] & 1;
        framing.little_endian = data[0] >> 1 & 1;
        framing.size = (size_t)1 << (data[0] >> 2 & 3);
        fuzz_stream(&framing, data + 1, size - 1);
    }
    return 0;
}
