/* SPDX-License-Identifier: Apache-2.0
 * The ring with its cursors and wait word (csrc/link/shared/ring.h) and the way the two sides sleep and
 * wake (csrc/link/shared/chan_shm*.c), small enough that SPIN visits every interleaving of it:
 * one producer, CONSUMERS threads on the other side, N places, M messages.
 *
 * Checked: each message arrives once, in order; nobody sleeps for ever (SPIN's "invalid end
 * state"); with KILL, whenever a side is killed, all it had committed arrives and the other ends.
 * Each BROKEN_… leaves out one thing that the code does, and must fail (tests/test_model.py): so
 * what is checked here can be wrong.
 *
 * The store of a cursor is sequentially consistent: one step. BROKEN_FENCE makes it what a plain
 * release store is on x86: it stays in a buffer, which its owner sees and the other does not, until
 * it is flushed at some later time or by the owner's next locked instruction. */
#ifndef N
#define N 2
#endif
#ifndef M
#define M 4
#endif
#ifndef CONSUMERS
#define CONSUMERS 1
#endif

byte ring[N]
byte tail, head           /* as the other side sees them */
byte own_tail, own_head   /* as their owners do */
bool data_bit, space_bit  /* the wait words: the consumer's and the producer's */
bool edge                 /* the consumer's eventfd: an event no epoll_wait has returned yet */
bool writable = true      /* the producer may look again: its own bell, or its socket was emptied */
byte asleep               /* consumers that sleep or are about to */
bool asked                /* somebody outside polls fileno(): the same epoll, without taking events */
bool lock                 /* of the consumers among themselves; not held while asleep */
bool unsettled            /* an event was taken that others may need: see settle */
byte received
bool producer_dead, consumer_dead /* the kernel hung up: both sides see it, for ever */

#ifdef BROKEN_FENCE
#define STORE(word, own, value) own = value
#define FLUSH(word, own) word = own
active proctype store_buffers()
{
    do
    :: atomic { tail != own_tail -> tail = own_tail }
    :: atomic { head != own_head -> head = own_head }
    :: atomic { received == M && tail == own_tail && head == own_head -> break }
    od
}
#else
#define STORE(word, own, value) atomic { own = value; word = own }
#define FLUSH(word, own) skip
#endif

/* Take the other's bit away; mine: we are to wake it. A look first, then a locked instruction. */
#define CLAIM(bit, word, own, mine)                                                                \
    mine = bit;                                                                                    \
    if                                                                                             \
    :: mine -> atomic { FLUSH(word, own); mine = bit; bit = false }                                \
    :: else                                                                                        \
    fi

#define ANNOUNCE(bit, word, own) atomic { FLUSH(word, own); bit = true }

bool kill_producer, kill_consumer /* at the next step */

#ifdef BROKEN_RECHECK_SPACE
#define ROOM_NOW false
#else
#define ROOM_NOW (own_tail - head < N)
#endif

proctype producer()
{
    byte n
    bool mine
    {
        do
        :: n == M -> break
        :: n < M ->
            do
            :: own_tail - head < N -> break
            :: else ->
#ifdef BROKEN_FILL
                ANNOUNCE(space_bit, tail, own_tail);
                writable = false;
#else
                writable = false; /* fills the socket */
                ANNOUNCE(space_bit, tail, own_tail);
#endif
                if
                :: ROOM_NOW
                :: else -> (writable || consumer_dead)
                fi;
                if
                :: consumer_dead && own_tail - head >= N -> goto gone
                :: else
                fi
            od;
            ring[n % N] = n;
            STORE(tail, own_tail, own_tail + 1);
            CLAIM(data_bit, tail, own_tail, mine);
            if
            :: mine -> edge = true
            :: else
            fi;
            n++
        od
    } unless { kill_producer };
gone:
    producer_dead = kill_producer
}

#ifdef BROKEN_RECHECK_DATA
#define NEWS_NOW false
#else
#define NEWS_NOW (tail != own_head)
#endif
#ifdef BROKEN_SETTLE
#define SETTLE false
#else
#define SETTLE unsettled
#endif

/* Under the lock: an event was taken away that others need, who sleep or look at the same epoll. On
 * one look at "empty" either the next commit will ring, or we do. */
inline settle()
{
    if
    :: asked && tail == own_head ->
        edge = false; /* readable no more */
        unsettled = true
    :: else
    fi;
    if
    :: SETTLE && (asked || asleep > 0) ->
        unsettled = false;
        if
        :: tail == own_head ->
            ANNOUNCE(data_bit, head, own_head);
            if
            :: tail != own_head -> edge = true
            :: else
            fi
        :: else -> edge = true
        fi
    :: else
    fi
}

inline take()
{
#ifdef BROKEN_ORDER
    STORE(head, own_head, own_head + 1);
    assert(ring[(own_head - 1) % N] == received);
#else
    assert(ring[own_head % N] == received);
    STORE(head, own_head, own_head + 1);
#endif
    received++;
    wanted--;
    CLAIM(space_bit, head, own_head, mine);
    if
    :: mine -> writable = true
    :: else
    fi
}

/* A program with its own event loop: looks at fileno(), and receives without waiting. */
proctype poller(byte wanted)
{
    bool mine
    {
        atomic { !lock -> lock = true };
        asked = true;
        unsettled = true;
        settle();
        lock = false;
        do
        :: wanted == 0 || received == M -> break
        :: else ->
            (edge || producer_dead || received == M);
            atomic { !lock -> lock = true };
            if
            :: tail != own_head -> take()
            :: else
            fi;
            settle();
            lock = false;
            if
            :: producer_dead && tail == own_head -> break
            :: else
            fi
        od
    } unless { kill_consumer };
    consumer_dead = kill_consumer
}

proctype consumer(byte wanted)
{
    bool mine, dead
    {
        do
        :: wanted == 0 || received == M -> break
        :: else ->
            atomic { !lock -> lock = true };
            dead = producer_dead; /* first the look at the peer, then at the ring */
            if
            :: tail != own_head ->
                take();
                settle();
                lock = false
            :: else ->
#ifdef BROKEN_DEATH
                dead = producer_dead;
#endif
                if
                :: dead ->
                    assert(own_head == tail);
                    lock = false;
                    break
                :: else ->
                    asleep++;
                    unsettled = false;
                    ANNOUNCE(data_bit, head, own_head);
#ifdef BROKEN_SETTLE_ORDER
                    unsettled = false;
#endif
                    if
                    :: NEWS_NOW -> /* nobody will ring for what is there already */
#ifndef BROKEN_SETTLE_NEWS
                        unsettled = true;
#endif
                        asleep--;
                        lock = false
                    :: else ->
                        lock = false;
                        if
                        :: atomic { edge -> edge = false; unsettled = true }
                        :: producer_dead
                        :: received == M /* close() wakes who still sleeps */
                        fi;
                        asleep--
                    fi
                fi
            fi
        od
    } unless { kill_consumer };
    consumer_dead = kill_consumer
}

init {
    atomic {
        run producer();
#if defined(POLLER) && CONSUMERS > 1
        run poller(POLLER);
        run consumer(M - POLLER)
#elif defined(POLLER)
        run poller(M)
#elif CONSUMERS > 1
        run consumer(1); /* leaves after one, while the other may sleep */
        run consumer(M - 1)
#else
        run consumer(M)
#endif
    };
#ifdef KILL
    if
    :: kill_producer = true
    :: kill_consumer = true
    fi
#endif
}
