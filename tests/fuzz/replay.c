/* SPDX-License-Identifier: Apache-2.0
 * Runs a fuzz target over the files named, so that the corpus is tested without clang. Each input
 * ends at a guard page.
 * Invariant: it calls the target exactly as libFuzzer does. */
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define ROOM (1u << 20)

int main(int argc, char **argv)
{
    static uint8_t bytes[ROOM];
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    int i;
    uint8_t *map =
        mmap(NULL, ROOM + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (map == MAP_FAILED || mprotect(map + ROOM, page, PROT_NONE) != 0) {
        perror("mmap");
        return 1;
    }
    for (i = 1; i < argc; i++) {
        size_t n;
        FILE *file = fopen(argv[i], "rb");
        if (file == NULL) {
            perror(argv[i]);
            return 1;
        }
        n = fread(bytes, 1, ROOM, file);
        (void)fclose(file);
        memcpy(map + ROOM - n, bytes, n);
        (void)LLVMFuzzerTestOneInput(map + ROOM - n, n);
    }
    printf("%d inputs\n", argc - 1);
    return argc < 2;
}
