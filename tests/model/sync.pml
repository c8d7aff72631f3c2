/* SPDX-License-Identifier: Apache-2.0
 * The robust word with its table of places (csrc/os/sync/word.c, places.c), small enough that SPIN
 * visits every interleaving of it: PROCESSES that take and release the word, one of which (with
 * KILL, two) is killed at any step, or ends; who comes new takes a place that a dead one may have had.
 *
 * Checked: never two in the critical section; who comes after a death in it is told (recovered);
 * nobody waits for ever (SPIN's "invalid end state"): a death is found by looking, a wake-up that
 * met a dead one is made up for by looking again. Each BROKEN_… leaves out one thing that the code
 * does, and must fail (tests/test_model.py).
 *
 * The byte of a place is locked by a process or by nobody: the kernel's lock of an open file, gone
 * with its process. Waiting is a futex: it compares and sleeps in one step. A slice of waiting may
 * end at any time at which there is something to be seen; with STRICT none does, and nobody dies: so
 * it is seen that no wake-up is lost without a death. */
#ifndef PROCESSES
#define PROCESSES 3
#endif
#ifndef PLACES
#define PLACES 2
#endif
#ifndef ROUNDS
#define ROUNDS 2
#endif
#define NOBODY 255
#define FREE 0

byte word             /* the holder's place and one; FREE */
bool waited, died     /* its two bits */
byte byte_of[PLACES]  /* who has locked the place's byte */
bool asleep[PROCESSES]
bool dead[PROCESSES]
byte inside = NOBODY  /* who is in the critical section */
bool dirty            /* somebody died in it */
byte deaths

/* The kernel takes the locks of one that ends, in one step, whatever it was at. */
inline end(me)
{
    atomic {
        dead[me] = true;
        i = 0;
        do
        :: i < PLACES ->
            if
            :: byte_of[i] == me -> byte_of[i] = NOBODY
            :: else
            fi;
            i++
        :: else -> break
        od;
        i = 0
    }
}

inline wake_one()
{
    if
    :: asleep[0] -> asleep[0] = false
    :: PROCESSES > 1 && asleep[1] -> asleep[1] = false
    :: PROCESSES > 2 && asleep[PROCESSES - 1] -> asleep[PROCESSES - 1] = false
    :: else
    fi
}

/* With the byte of `place` locked: what stood in the word becomes DIED. */
inline clean(place)
{
#ifndef BROKEN_CLEAN
    atomic {
        if
        :: word == place + 1 -> word = FREE; died = true; waited = false; woke = true
        :: else -> woke = false
        fi
    };
    if
    :: woke -> atomic { wake_one() }
    :: else
    fi
#else
    skip
#endif
}

/* Whoever finds the holder's byte free locks it, and sweeps. */
inline sweep(place)
{
#ifdef BROKEN_BYTE
    /* looks only whether it is free, and sweeps later: it may be another's by then */
    if
    :: byte_of[place] == NOBODY -> clean(place)
    :: else
    fi
#else
    locked = false;
    atomic {
        if
        :: byte_of[place] == NOBODY -> byte_of[place] = me; locked = true
        :: else
        fi
    };
    if
    :: locked ->
        clean(place);
        assert(word != place + 1);
        byte_of[place] = NOBODY
    :: else
    fi
#endif
}

proctype process(byte me)
{
    byte mine, seen, round, i, at
    bool locked, woke, slept, was_died, got
    {
        /* A place: the first whose byte can be locked, swept before it is used. */
        mine = NOBODY;
        at = 0;
        do
        :: mine != NOBODY -> break
        :: else ->
            atomic {
                if
                :: byte_of[at] == NOBODY -> byte_of[at] = me; locked = true
                :: else -> locked = false
                fi
            };
            if
            :: locked ->
#ifndef BROKEN_TAKE
                clean(at);
#endif
                mine = at
            :: else -> at = (at + 1) % PLACES
            fi
        od;
        do
        :: round == ROUNDS -> break
        :: else ->
            got = false;
            slept = false;
            do
            :: got -> break
            :: else ->
                seen = word;
                if
                :: seen == FREE ->
                    atomic {
                        if
                        :: word == FREE ->
                            word = mine + 1;
#ifdef BROKEN_WAITED
                            waited = waited;
#else
                            waited = (slept -> true : waited);
#endif
                            got = true
                        :: else
                        fi
                    }
                :: else ->
                    atomic {
                        if
                        :: word == seen ->
                            waited = true;
                            asleep[me] = true; /* the kernel compares, and puts to sleep */
                            slept = true
                        :: else
                        fi
                    };
                    if
                    :: asleep[me] ->
                        if
                        :: !asleep[me] /* woken */
#ifdef STRICT
#elif defined(BROKEN_LOOK)
                        :: word != seen -> asleep[me] = false
#else
                        :: (word != seen || byte_of[seen - 1] == NOBODY) ->
                            asleep[me] = false; /* a slice is over: looks around */
                            if
                            :: word == seen -> sweep(seen - 1)
                            :: else
                            fi
#endif
                        fi
                    :: else
                    fi
                fi
            od;
            /* The critical section. */
            atomic { assert(inside == NOBODY); inside = me };
            was_died = died;
            assert(!dirty || was_died);
            atomic { dirty = true };
            atomic { dirty = false; inside = NOBODY };
            /* Release: one exchange, then a wake if somebody sleeps. */
            atomic {
                assert(word == mine + 1);
                word = FREE;
                died = false;
                woke = waited;
                waited = false
            };
            if
            :: woke -> atomic { wake_one() }
            :: else
            fi;
            round++
        od;
        end(me)
    } unless { dead[me] };
    skip
}

/* SIGKILL: at any step of any process. What it held stays as it is; its locks go. */
active proctype killer()
{
    byte i
#ifdef KILL
    byte victim
    do
    :: deaths == KILL -> break
    :: deaths < KILL ->
        if
        :: victim = 0
        :: victim = 1
        :: victim = PROCESSES - 1
        fi;
        atomic {
            if
            :: !dead[victim] ->
                if
                :: inside == victim -> inside = NOBODY
                :: else
                fi;
                asleep[victim] = false;
                end(victim)
            :: else
            fi;
            deaths++
        }
    od
#else
    i = 0
#endif
}

init {
    atomic {
        byte p = 0;
        do
        :: p < PLACES -> byte_of[p] = NOBODY; p++
        :: else -> break
        od;
        p = 0;
        do
        :: p < PROCESSES -> run process(p); p++
        :: else -> break
        od
    }
}
