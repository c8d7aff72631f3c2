/* The second classic bug of "who | sort": nobody waits for the children.
 *
 *     cc zombie.c -o zombie && ./zombie
 *
 * A child that has ended keeps its number and its exit status until its parent asks for them: a
 * zombie. A parent that ends leaves its children to process 1, which asks; a parent that lives on,
 * a server for example, collects zombies until the system has no number left for a new process.
 * (The slide's parent ends at once. So the shell's prompt may come before what sort prints.)
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static void fail(const char *what)
{
    perror(what);
    exit(1);
}

/* The letter of a process's state in /proc/PID/stat: R runs, S sleeps, Z is a zombie. */
static char state_of(pid_t process)
{
    char path[64], line[512] = "";
    snprintf(path, sizeof path, "/proc/%d/stat", (int)process);
    FILE *file = fopen(path, "r");
    if (file == NULL || fgets(line, sizeof line, file) == NULL)
        fail(path);
    fclose(file);
    return strrchr(line, ')')[2]; /* behind the name, which may contain anything */
}

int main(void)
{
    pid_t child = fork();
    if (child < 0)
        fail("fork");
    if (child == 0) {
        execlp("who", "who", "/dev/null", NULL); /* of no users */
        fail("who");
    }

    /* To show the bug it takes a wait that leaves everything as it is: until the child has ended. */
    siginfo_t info;
    if (waitid(P_PID, (id_t)child, &info, WEXITED | WNOWAIT) < 0)
        fail("waitid");
    printf("who has ended, its state is %c: a zombie\n", state_of(child));
    printf("its number is taken: %s\n", kill(child, 0) == 0 ? "yes" : "no");

    int status;
    if (waitpid(child, &status, 0) < 0) /* the cure */
        fail("waitpid");
    printf("waited for it: exit status %d\n", WEXITSTATUS(status));
    printf("its number is taken: %s\n", kill(child, 0) < 0 && errno == ESRCH ? "no" : "yes");
    return 0;
}
