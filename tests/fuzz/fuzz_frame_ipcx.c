/* SPDX-License-Identifier: Apache-2.0
 * Fuzz target: frames of ipcx. */
#include "frame.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    ipcx_framing framing = {.kind = IPCX_FRAMING_IPCX, .max_message = 1000};
    fuzz_stream(&framing, data, size);
    return 0;
}
