/* The first classic bug of "who | sort": the parent keeps its ends of the pipe open, and waits.
 *
 *     cc unclosed_ends.c -o unclosed_ends && ./unclosed_ends
 *
 * A pipe is at its end when its last writing end is closed. fork() has copied fd[1] into the parent's
 * hands, too: so sort waits for what the parent might still write, the parent waits for sort, and
 * neither ever goes on. This one looks at the clock instead, and then closes its end.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static void fail(const char *what)
{
    perror(what);
    exit(1);
}

/* Starts a program whose descriptor `standard` (0 or 1) is `end`. */
static pid_t start(const char *program, int standard, int end, const int fd[2])
{
    pid_t child = fork();
    if (child < 0)
        fail("fork");
    if (child == 0) {
        dup2(end, standard);
        close(fd[0]);
        close(fd[1]);
        execlp(program, program, NULL);
        fail(program);
    }
    return child;
}

/* Whether the child ends within half a second. It is not waited for: its status stays. */
static int ends_soon(pid_t child)
{
    const struct timespec moment = {0, 10 * 1000 * 1000};
    for (int looks = 0; looks < 50; looks++) {
        siginfo_t info = {0};
        if (waitid(P_PID, (id_t)child, &info, WEXITED | WNOHANG | WNOWAIT) < 0)
            fail("waitid");
        if (info.si_pid == child)
            return 1;
        nanosleep(&moment, NULL);
    }
    return 0;
}

int main(void)
{
    int fd[2];
    if (pipe(fd) < 0)
        fail("pipe");
    pid_t who = start("who", 1, fd[1], fd);
    pid_t sort = start("sort", 0, fd[0], fd);

    /* BUG: close(fd[0]) and close(fd[1]) belong here. */
    if (waitpid(who, NULL, 0) < 0)
        fail("waitpid");
    printf("who has ended, so all is written\n");
    if (!ends_soon(sort))
        printf("sort waits for more: I have a writing end open\n");
    fflush(stdout); /* what sort prints comes after that */

    close(fd[1]); /* the cure */
    if (waitpid(sort, NULL, 0) < 0)
        fail("waitpid");
    printf("closed it: sort has ended\n");
    close(fd[0]);
    return 0;
}
