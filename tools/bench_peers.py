"""The workloads of `tgc bench` in other frameworks, for its option --peers; bench_peer.c describes the talk.
A framework is a file bench_peers_NAME.py with a function kinds(name, inputs, params): a dict from a kind to a function
that prepares it and returns one step, or None; a step returns what it computed, for a network its loss."""
import importlib, os, sys, time

THREADS, DEVICE = int(sys.argv[1]), sys.argv[2]
os.environ["TGC_PEER_DEVICE"] = DEVICE
os.environ["JAX_PLATFORMS"] = "cpu"
answers = os.fdopen(os.dup(1), "w")  # libraries may print
os.dup2(2, 1)

import numpy as np

FRAMEWORKS = ["torch", "jax", "tinygrad"] if DEVICE == "cpu" else ["torch"]


def frameworks():
    found = []
    for name in FRAMEWORKS:
        t = time.perf_counter()
        try:
            found.append(importlib.import_module("bench_peers_" + name))
        except ImportError as e:
            print(f"tgc bench: no {name} among the peers: {e}", file=sys.stderr)
            continue
        found[-1].start(THREADS)
        print(f"tgc bench: {name} is there ({time.perf_counter() - t:.1f} s)", file=sys.stderr)
    return found


def distance(got, wanted):
    """Largest difference, relative to the largest value; infinite if a value is not finite."""
    got = np.asarray(got.detach().double().cpu() if hasattr(got, "detach") else got).astype(np.float64).reshape(wanted.shape)
    worst = float(np.max(np.abs(got - wanted)) / max(np.max(np.abs(wanted)), 1e-30))
    return worst if np.isfinite(worst) else float("inf")


def check(step, first, wanted, steps):
    """How far the results are from ours, -1: not compared. After so many training steps, if any: what is compared is
    the loss of each, or, of a workload without one, what the last one returned."""
    results = [first] + [step() for _ in range(steps - 1)]
    if steps and len(wanted) == 1:
        return distance([float(r[0]) for r in results], wanted[0])
    return max([distance(*pair) for pair in zip(results[-1], wanted)], default=-1)


def prepare(name, folder, inputs, params, outs, steps):
    load = lambda what, n: [np.load(f"{folder}/{what}{i}.npy") for i in range(n)]
    inputs, params, wanted = load("in", inputs), load("param", params), load("out", outs)
    ready, said = {}, []
    for framework in found:
        for kind, make in framework.kinds(name, inputs, params).items():
            try:
                step = make()
                if step is None:
                    continue
                print(f"tgc bench: {name} in {kind}: its first step", file=sys.stderr)
                t = time.perf_counter()
                first = step()
                wait()
                ms = 1e3 * (time.perf_counter() - t)
                said.append(f"{kind} {check(step, first, wanted, steps):g} {ms:.3f}")
                ready[kind] = step
            except Exception as e:
                print(f"tgc bench: {name} in {kind}: {type(e).__name__}: {e}", file=sys.stderr)
    return ready, " ".join(said)


def timed(step):
    t = time.perf_counter()
    step()
    return 1e3 * (time.perf_counter() - t)


def wait():
    """Until the device has done all that it was asked for."""
    for framework in found:
        getattr(framework, "wait", lambda: None)()


def far_turn(step):
    """One untimed step, then steps for 4 ms of host time, at most 64, waited for once. As bench_device.c does it."""
    step()
    wait()
    t, n = time.perf_counter(), 0
    while n == 0 or (n < 64 and time.perf_counter() - t < 4e-3):
        step()
        n += 1
    wait()
    return 1e3 * (time.perf_counter() - t) / n


def turn(step):
    """One untimed step, then timed ones for 4 ms, at most 9: their median. As bench_time.c does it."""
    if DEVICE != "cpu":
        return far_turn(step)
    step()
    times = []
    while not times or (len(times) < 9 and sum(times) < 4):
        times.append(timed(step))
    return float(np.median(times))


found, ready = frameworks(), {}
for line in sys.stdin:
    words = line.split()
    if words[0] == "open":
        for framework in found:
            framework.reset()
        ready, answer = prepare(words[1], words[2], *map(int, words[3:7]))
    else:
        answer = f"{turn(ready[words[1]]):.6f}"
    print(answer, file=answers, flush=True)
