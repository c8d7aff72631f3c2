/* SPDX-License-Identifier: Apache-2.0
 * Fuzz target: messages before a delimiter; the first byte: its size, whether they are texts; then
 * it. */
#include "frame.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    ipcx_framing framing = {.kind = IPCX_FRAMING_DELIMITER, .max_message = 100};
    size_t width = size > 0 ? 1u + (data[0] >> 1 & 3) : 1;
    if (size > width) {
        framing.text = data[0] & 1;
        framing.delimiter_size = width;
        memcpy(framing.delimiter, data + 1, width);
        fuzz_stream(&framing, data + 1 + width, size - 1 - width);
    }
    return 0;
}
