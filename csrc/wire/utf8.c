/* SPDX-License-Identifier: Apache-2.0
 * Whether bytes are UTF-8 (RFC 3629, section 4). */
#include <stdint.h>
#include <string.h>

#include "wire/frame.h"

/* The length of the well-formed character at `s`, 0 when there is none. */
static size_t character(const uint8_t *s, size_t left)
{
    /* The second byte's range tells overlong forms, surrogates and what lies over U+10FFFF. */
    uint8_t low = 0x80, high = 0xbf;
    size_t size = s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : 4;
    if (s[0] < 0xc2 || s[0] > 0xf4 || left < size) {
        return 0;
    }
    if (s[0] == 0xe0) {
        low = 0xa0;
    } else if (s[0] == 0xed) {
        high = 0x9f;
    } else if (s[0] == 0xf0) {
        low = 0x90;
    } else if (s[0] == 0xf4) {
        high = 0x8f;
    }
    if (s[1] < low || s[1] > high) {
        return 0;
    }
    for (size_t i = 2; i < size; i++) {
        if ((s[i] & 0xc0) != 0x80) {
            return 0;
        }
    }
    return size;
}

size_t ipcx__utf8_valid(const void *text, size_t size)
{
    const uint8_t *s = text;
    size_t at = 0;
    while (at < size) {
        uint64_t eight;
        if (size - at >= sizeof eight) {
            memcpy(&eight, s + at, sizeof eight);
            if ((eight & UINT64_C(0x8080808080808080)) == 0) {
                at += sizeof eight;
                continue;
            }
        }
        if (s[at] < 0x80) {
            at++;
        } else {
            size_t step = character(s + at, size - at);
            if (step == 0) {
                return at;
            }
            at += step;
        }
    }
    return at;
}
