/* The lecture's "who | sort", made whole: two children, and a pipe from one to the other.
 *
 *     cc who_sort.c -o who_sort && ./who_sort
 *
 * The slide's program lacks two things. Its parent keeps both ends of the pipe open: unclosed_ends.c
 * shows what comes of that. And it does not wait for its children: zombie.c. Here both are done.
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static void fail(const char *what)
{
    perror(what); /* what went wrong, in the system's words */
    exit(1);
}

/* Waits until the child has ended, and says how: so it leaves no zombie. */
static void wait_for(const char *name, pid_t child)
{
    int status;
    if (waitpid(child, &status, 0) < 0)
        fail("waitpid");
    if (WIFEXITED(status))
        printf("%s: exit status %d\n", name, WEXITSTATUS(status));
    else
        printf("%s: ended by signal %d\n", name, WTERMSIG(status));
}

int main(void)
{
    int fd[2]; /* fd[0] is the end to read from, fd[1] the end to write to */
    if (pipe(fd) < 0)
        fail("pipe");

    pid_t who = fork();
    if (who < 0)
        fail("fork");
    if (who == 0) { /* the first child: its standard output becomes the pipe */
        dup2(fd[1], 1);
        close(fd[0]);
        close(fd[1]); /* the copy at 1 is enough */
        execlp("who", "who", NULL);
        fail("who"); /* execlp() returns only if it has failed */
    }

    pid_t sort = fork();
    if (sort < 0)
        fail("fork");
    if (sort == 0) { /* the second child: its standard input becomes the pipe */
        dup2(fd[0], 0);
        close(fd[0]);
        close(fd[1]); /* or it would wait for itself to write */
        execlp("sort", "sort", NULL);
        fail("sort");
    }

    /* The parent neither reads nor writes. As long as it held fd[1], sort would wait for more. */
    close(fd[0]);
    close(fd[1]);
    wait_for("who", who);
    wait_for("sort", sort);
    return 0;
}
