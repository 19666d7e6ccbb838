#!/usr/bin/env python3
# Fits the coefficients in expand_math.c and expand_trig.c (python3-mpmath). Not part of the build: run it by hand
# and paste. Polynomials: Remez exchange on a grid, weighted so that the *relative* error of the final value is
# levelled. Rationals: Lawson's iteratively reweighted least squares on the linearised problem.
from mpmath import mp, mpf, matrix, lu_solve, cos, pi, sin, exp, log, erf, erfc, atanh, nstr, sqrt, taylor
import struct
import sys

mp.prec = 240


def grid(lo, hi, n):
    return [(lo + hi) / 2 - (hi - lo) / 2 * cos(pi * (i + mpf(1) / 2) / n) for i in range(n)]


def remez(f, weight, powers, lo, hi, points=1200, rounds=30):
    """Coefficients c with weight * (sum c_k x^powers_k - f) levelled on [lo, hi]; and its maximum."""
    n = len(powers)
    xs = grid(mpf(lo), mpf(hi), points)
    fs, ws = [f(x) for x in xs], [weight(x) for x in xs]
    ref = [int((points - 1) * (1 - float(cos(pi * i / n))) / 2 + 0.5) for i in range(n + 1)]
    for _ in range(rounds):
        a, b = matrix(n + 1, n + 1), matrix(n + 1, 1)
        for r, i in enumerate(ref):
            for k, p in enumerate(powers):
                a[r, k] = xs[i] ** p
            a[r, n] = (-1) ** r / ws[i]
            b[r] = fs[i]
        c = lu_solve(a, b)
        err = [w * (sum(c[k] * x ** p for k, p in enumerate(powers)) - y) for x, y, w in zip(xs, fs, ws)]
        runs, start = [], 0
        for i in range(1, points + 1):
            if i == points or (err[i] > 0) != (err[start] > 0):
                runs.append(max(range(start, i), key=lambda j: abs(err[j])))
                start = i
        while len(runs) > n + 1:
            runs.pop(0 if abs(err[runs[0]]) < abs(err[runs[-1]]) else -1)
        if len(runs) < n + 1 or runs == ref:
            break
        ref = runs
    return [c[k] for k in range(n)], max(abs(e) for e in err)


def rational(f, weight, top, bottom, lo, hi, points=300, rounds=60):
    """P/Q by powers of x; Q starts with 1. Lawson weights, previous Q as denominator."""
    xs = grid(mpf(lo), mpf(hi), points)
    fs, ws = [f(x) for x in xs], [weight(x) for x in xs]
    n = top + bottom + 1
    lawson, q = [mpf(1)] * points, [mpf(1)] * points
    best = None
    for _ in range(rounds):
        a, b = matrix(n, n), matrix(n, 1)
        for x, y, w, l, d in zip(xs, fs, ws, lawson, q):
            row = [x ** k for k in range(top + 1)] + [-y * x ** k for k in range(1, bottom + 1)]
            s = l * (w / d) ** 2
            for i in range(n):
                b[i] += s * row[i] * y
                for j in range(i, n):
                    a[i, j] += s * row[i] * row[j]
        for i in range(n):
            for j in range(i):
                a[i, j] = a[j, i]
        c = lu_solve(a, b)
        num, den = [c[k] for k in range(top + 1)], [mpf(1)] + [c[top + k] for k in range(1, bottom + 1)]
        q = [sum(den[k] * x ** k for k in range(bottom + 1)) for x in xs]
        err = [abs(w * (sum(num[k] * x ** k for k in range(top + 1)) / d - y))
               for x, y, w, d in zip(xs, fs, ws, q)]
        if best is None or max(err) < best[0]:
            best = (max(err), num, den)
        lawson = [l * e for l, e in zip(lawson, err)]
        s = sum(lawson)
        lawson = [l / s for l in lawson]
    return best[1], best[2], best[0]


def f32(v):
    return struct.unpack('f', struct.pack('f', float(v)))[0]


def show(name, c, single, err=None):
    text = ', '.join((float(f32(v)) if single else float(v)).hex() for v in c)
    print('static const double %s[] = {%s};%s' % (name, text, '' if err is None else ' // ' + nstr(err, 3)))


def limit(f, at0):
    return lambda x: f(x) if abs(x) > mpf(2) ** -60 else at0


def split(v, bits, parts):
    """v as a sum of `parts` numbers of at most `bits` bits each."""
    out = []
    for _ in range(parts):
        e = int(mp.floor(log(abs(v), 2))) - bits + 1
        h = mp.floor(v / mpf(2) ** e) * mpf(2) ** e
        out.append(h)
        v -= h
    return out


def fit_exp():
    half = log(2) / 2 * mpf('1.01')
    g = limit(lambda r: (exp(r) - 1 - r) / (r * r), mpf(1) / 2)
    for name, n, single in (('exp_f32', 5, True), ('exp_f64', 11, False)):
        c, e = remez(g, lambda r: r * r / exp(r), range(n), -half, half)
        show(name, c, single, e)
    show('ln2_f32', split(log(2), 12, 1) + [log(2) - split(log(2), 12, 1)[0]], True)
    show('ln2_f64', split(log(2), 40, 1) + [log(2) - split(log(2), 40, 1)[0]], False)


def fit_log():
    lo, hi = 1 / sqrt(mpf(2)) - 1, sqrt(mpf(2)) - 1
    g = limit(lambda f: (log(1 + f) - f + f * f / 2) / f ** 3, mpf(1) / 3)
    c, e = remez(g, limit(lambda f: f ** 3 / log(1 + f), mpf(0) + mpf(2) ** -100), range(9), lo, hi)
    show('log_f32', c, True, e)
    # f64: log(1 + f) = 2 atanh(s), s = f / (2 + f); 2 atanh(s) - 2 s = s z R(z), z = s^2
    z1 = (hi / (2 + hi)) ** 2 * mpf('1.01')
    g = limit(lambda z: (2 * atanh(sqrt(z)) / sqrt(z) - 2) / z, mpf(2) / 3)
    c, e = remez(g, lambda z: z + mpf(2) ** -60, range(8), 0, z1)
    show('log_f64', c, False, e)


def fit_erf():
    g = limit(lambda z: erf(sqrt(z)) / sqrt(z), 2 / sqrt(pi))
    num, den, e = rational(g, lambda z: 1 / g(z), 6, 5, 0, mpf('4.0') ** 2)
    show('erf_num_f32', num, True, e)
    show('erf_den_f32', den, True)
    c, e = remez(g, lambda z: 1 / g(z), range(14), 0, mpf('1.01') ** 2)
    show('erf_f64', c, False, e)
    f = lambda x: erfc(x) * exp(x * x)
    num, den, e = rational(f, lambda x: 1 / f(x), 9, 9, mpf('0.99'), mpf('6.01'))
    show('erfc_num_f64', num, False, e)
    show('erfc_den_f64', den, False)


def fit_trig():
    q = (pi / 4 * mpf('1.001')) ** 2
    s = limit(lambda z: (sin(sqrt(z)) / sqrt(z) - 1) / z, -mpf(1) / 6)
    c = limit(lambda z: (cos(sqrt(z)) - 1 + z / 2) / (z * z), mpf(1) / 24)
    for bits, single, n in (('f32', True, 4), ('f64', False, 7)):
        k, e = remez(s, lambda z: z + mpf(2) ** -60, range(n), 0, q)
        show('sin_' + bits, k, single, e)
        k, e = remez(c, lambda z: z * z / cos(sqrt(z)) + mpf(2) ** -60, range(n), 0, q)
        show('cos_' + bits, k, single, e)
    show('half_pi_f64', split(pi / 2, 53, 3), False)
    for shift in (0, 8, 32, 56, 80):
        t = mpf(2) ** shift * 2 / pi
        t -= 4 * mp.floor(t / 4)
        a = mp.floor(t * mpf(2) ** 26) / mpf(2) ** 26
        b = mp.floor((t - a) * mpf(2) ** 55) / mpf(2) ** 55
        show('turn%d' % shift, [a, b, t - a - b], False)


for name in sys.argv[1:] or ['exp', 'log', 'erf', 'trig']:
    print('//', name)
    globals()['fit_' + name]()
