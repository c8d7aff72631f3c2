"""ps | grep java: the lines of one program, filtered by another, one by one as they come.

`python ps_grep.py python` looks for another word.
"""

import sys

from ipcx.pipes import Pipeline

word = sys.argv[1] if len(sys.argv) > 1 else "java"
processes = Pipeline("ps -e") | ["grep", word]
found = 0
for line in processes:
    print(line)
    found += 1
print(f"{processes}: {'nothing' if found == 0 else 'found'}")
