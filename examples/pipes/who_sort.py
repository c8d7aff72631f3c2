"""who | sort, as in a shell but without one: see who_sort.c for all that happens below.

Every end that must be closed is closed, and every stage is waited for.
"""

from ipcx.pipes import Pipeline

users = (Pipeline("who") | "sort").run()
print(users.text, end="")
for ending in users.endings:
    print(ending)
