"""The workloads of `tgc bench` in PyTorch and JAX, for its option --peers; bench_peer.c describes the talk."""
import os, sys, time

THREADS = int(sys.argv[1])
os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:THREADS])  # JAX sizes its pool by it
os.environ["JAX_PLATFORMS"] = "cpu"
answers = os.fdopen(os.dup(1), "w")  # libraries may print
os.dup2(2, 1)

import numpy as np

try:
    import torch
    import torch.nn as nn
    import torch.nn.functional as F
    torch.set_num_threads(THREADS)
except ImportError:
    torch = None
try:
    import jax
    import jax.numpy as jnp
except ImportError:
    jax = None


def sizes(name):
    return [int(n) for n in name.split("_")[1].split("x")]


def shapes(name):
    """Of the inputs, then of the parameters, as bench_workloads.c has them; a pair (n, "i") is n indices."""
    if name == "matmul_bias_relu":
        return [(512, 512), (512, 512), (512,)]
    if name.startswith("matmul_"):
        m, n, k = sizes(name)
        return [(m, k), (k, n)]
    if name.startswith("softmax_"):
        return [tuple(sizes(name))]
    if name.startswith("conv"):
        k, c, s, st, g = conv_numbers(name)
        n = 8 if k == 7 else 64
        return [(n, c[0], s, s), (c[1], c[0] // g, k, k), (n, c[1], s // st, s // st)][:3 if name[-3:] in ("_dx", "_dw") else 2]
    square = [(4096, 4096)]
    return {
        "layernorm_fwd": [(8192, 768), (768,), (768,)],
        "layernorm_fb": [(8192, 768), (8192, 768), (768,), (768,)],
        "gelu_chain": [(16384, 1024), (1024,), (16384, 1024)],
        "sum_axis0": square, "sum_axis1": square, "sum_all": square, "argmax_axis1": square, "transpose": square,
        "gather_32k": [(50257, 768), (32768, "i")],
        "attention": [(8, 12, 1024, 64)] * 4,
        "head": [(512, 768), (512, "i"), (50257, 768)],
        "mlp": [(128, 784), (128, "i")],
        "resnet20": [(128, 3, 32, 32), (128, "i")],
        "cnn": [(128, 1, 28, 28), (128, "i")],
        "gpt_small": [(768, "i"), (768, "i")],
    }.get(name, [])


def conv_numbers(name):
    p = name[4:].split("_")
    return int(p[0]), [int(c) for c in p[1].split("-")], int(p[2]), int(p[3][1:]), int(p[4][1:])


def load(folder, what, i, shape):
    if shape[-1] == "i":
        return np.fromfile(f"{folder}/{what}{i}", np.int32)
    return np.fromfile(f"{folder}/{what}{i}", np.float32).reshape(shape)


# ---- PyTorch: a function of no arguments that runs one step and returns its results ------------------------------


def torch_plain(name):
    """A function of the inputs, or None."""
    if name == "matmul_bias_relu":
        return lambda a, b, c: F.relu(torch.addmm(c, a, b))
    if name.startswith("matmul_"):
        return lambda a, b: a @ b
    if name.startswith("softmax_"):
        return lambda x: torch.softmax(x, -1)
    if name.startswith("conv"):
        k, c, s, st, g = conv_numbers(name)
        if name.endswith("_dx"):
            return lambda x, w, d: torch.nn.grad.conv2d_input(x.shape, w, d, st, k // 2, 1, g)
        if name.endswith("_dw"):
            return lambda x, w, d: torch.nn.grad.conv2d_weight(x, w.shape, d, st, k // 2, 1, g)
        return lambda x, w: F.conv2d(x, w, None, st, k // 2, 1, g)
    return {
        "layernorm_fwd": lambda x, g, b: F.layer_norm(x, (768,), g, b),
        "gelu_chain": lambda x, b, s: F.gelu(x + b, approximate="tanh") + s,
        "sum_axis0": lambda x: x.sum(0), "sum_axis1": lambda x: x.sum(1), "sum_all": lambda x: x.sum(),
        "argmax_axis1": lambda x: x.argmax(1),
        "transpose": lambda x: x.t().contiguous(),
        "gather_32k": lambda x, i: x.index_select(0, i),
    }.get(name)


def torch_backward(name):
    """(forward, which inputs want a gradient, which is the gradient handed down or None)."""
    return {
        "layernorm_fb": (lambda x, d, g, b: F.layer_norm(x, (768,), g, b), (0, 2, 3), 1),
        "attention": (lambda d, q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True), (1, 2, 3), 0),
        "head": (lambda h, y, w: F.cross_entropy(h @ w.t(), y), (0, 2), None),
    }.get(name)


def torch_net(name):
    if name == "mlp":
        return nn.Sequential(nn.Linear(784, 512), nn.ReLU(), nn.Linear(512, 512), nn.ReLU(), nn.Linear(512, 10))
    if name == "cnn":
        return nn.Sequential(
            nn.Conv2d(1, 32, 5, bias=False), nn.ReLU(), nn.Conv2d(32, 32, 5, bias=False), nn.BatchNorm2d(32), nn.ReLU(),
            nn.MaxPool2d(2), nn.Conv2d(32, 64, 3, bias=False), nn.ReLU(), nn.Conv2d(64, 64, 3, bias=False),
            nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(576, 10))
    if name == "resnet20":
        return TorchResNet()
    if name == "gpt_small":
        return TorchGpt()
    return None


if torch:
    class TorchBlock(nn.Module):
        def __init__(self, i, o, stride):
            super().__init__()
            conv = lambda i, o, k, s: nn.Sequential(nn.Conv2d(i, o, k, s, k // 2, bias=False), nn.BatchNorm2d(o))
            self.a, self.b = conv(i, o, 3, stride), conv(o, o, 3, 1)
            self.short = conv(i, o, 1, stride) if stride != 1 else nn.Identity()

        def forward(self, x):
            return F.relu(self.b(F.relu(self.a(x))) + self.short(x))

    class TorchResNet(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU())
            widths = [16] * 4 + [32] * 3 + [64] * 3
            pairs = list(zip(widths, widths[1:]))
            self.blocks = nn.Sequential(*[TorchBlock(i, o, 1 if i == o else 2) for i, o in pairs])
            self.out = nn.Linear(64, 10)

        def forward(self, x):
            return self.out(self.blocks(self.stem(x)).mean((2, 3)))

    class TorchLayer(nn.Module):
        def __init__(self):
            super().__init__()
            self.n1, self.n2 = nn.LayerNorm(128), nn.LayerNorm(128)
            self.qkv, self.proj = nn.Linear(128, 384), nn.Linear(128, 128)
            self.up, self.down = nn.Linear(128, 512), nn.Linear(512, 128)

        def forward(self, x):
            q, k, v = (t.view(12, 64, 4, 32).transpose(1, 2) for t in self.qkv(self.n1(x)).split(128, 2))
            a = F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).reshape(12, 64, 128)
            x = x + self.proj(a)
            return x + self.down(F.gelu(self.up(self.n2(x))))

    class TorchGpt(nn.Module):
        def __init__(self):
            super().__init__()
            self.tokens, self.places = nn.Embedding(65, 128), nn.Embedding(64, 128)
            self.layers = nn.Sequential(*[TorchLayer() for _ in range(4)])
            self.norm, self.out = nn.LayerNorm(128), nn.Linear(128, 65)

        def forward(self, i):
            x = self.tokens(i.view(12, 64)) + self.places(torch.arange(64))
            return self.out(self.norm(self.layers(x))).view(768, 65)


def torch_tensor(a):
    t = torch.from_numpy(a)
    if t.dtype == torch.int32:
        t = t.long()
    return t.contiguous(memory_format=torch.channels_last) if t.dim() == 4 else t


def torch_optimizer(name, params):
    if name == "resnet20":
        return torch.optim.SGD(params, lr=0.1, momentum=0.9, weight_decay=1e-4, fused=True)
    return torch.optim.AdamW(params, lr=1e-3, weight_decay=0, fused=True)


def torch_step(name, inputs, wrap):
    if name == "adam":
        params = [nn.Parameter(torch.randn(s) * 0.05) for s in adam_shapes()]
        for p in params:
            p.grad = torch.randn(p.shape) * 0.01
        step = torch_optimizer(name, params).step
        return wrap(step)
    net = torch_net(name)
    args = [torch_tensor(a) for a in inputs]
    if net:
        if name in ("cnn", "resnet20"):
            net = net.to(memory_format=torch.channels_last)
        opt, forward = torch_optimizer(name, net.parameters()), wrap(net)

        def step():
            opt.zero_grad(set_to_none=True)
            loss = F.cross_entropy(forward(args[0]), args[1])
            loss.backward()
            opt.step()
            loss.item()
            return []
        return step
    if torch_backward(name):
        f, wrt, given = torch_backward(name)
        if name == "attention":
            args = [a.contiguous() for a in args]
        for i in wrt:
            args[i].requires_grad_()
        forward = wrap(f)

        def step():
            y = forward(*args)
            return [y] + list(torch.autograd.grad(y, [args[i] for i in wrt], None if given is None else args[given]))
        return step
    f = torch_plain(name)
    if not f:
        return None
    forward = wrap(f)

    def step():
        with torch.no_grad():
            return [forward(*args)]
    return step


# ---- JAX -----------------------------------------------------------------------------------------------------------


def jax_attention(q, k, v):
    s = q @ jnp.swapaxes(k, -1, -2) / 8
    s = jnp.where(jnp.tril(jnp.ones((1024, 1024), bool)), s, -jnp.inf)
    return jax.nn.softmax(s, -1) @ v


def jax_cross_entropy(z, y):
    return -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(z), y[:, None], 1))


def jax_layer_norm(x, g, b):
    m, v = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
    return (x - m) / jnp.sqrt(v + 1e-5) * g + b


def jax_function(name):
    if name == "matmul_bias_relu":
        return lambda a, b, c: jax.nn.relu(a @ b + c)
    if name.startswith("matmul_"):
        return lambda a, b: a @ b
    if name.startswith("softmax_"):
        return lambda x: jax.nn.softmax(x, -1)

    def vjp(f):
        def both(d, *args):
            y, back = jax.vjp(f, *args)
            return (y,) + tuple(back(d))
        return both
    return {
        "layernorm_fwd": jax_layer_norm,
        "layernorm_fb": lambda x, d, g, b: vjp(jax_layer_norm)(d, x, g, b),
        "attention": vjp(jax_attention),
        "head": lambda h, y, w: (lambda v, g: (v,) + g)(
            *jax.value_and_grad(lambda h, w: jax_cross_entropy(h @ w.T, y), (0, 1))(h, w)),
        "gelu_chain": lambda x, b, s: jax.nn.gelu(x + b, approximate=True) + s,
        "sum_axis0": lambda x: x.sum(0), "sum_axis1": lambda x: x.sum(1), "sum_all": lambda x: x.sum(),
        "argmax_axis1": lambda x: x.argmax(1),
        "transpose": lambda x: x.T,
        "gather_32k": lambda x, i: x[i],
    }.get(name)


def jax_adam(p, g, m, v, t, lr=1e-3):
    m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
    return p - lr * (m / (1 - 0.9**t)) / (jnp.sqrt(v / (1 - 0.999**t)) + 1e-8), m, v


def jax_step(name, inputs):
    if name == "mlp":
        x, y = (jnp.asarray(a) for a in inputs)
        params = [jnp.asarray(np.random.randn(*s).astype(np.float32) * (s[0]**-0.5 if len(s) == 2 else 0))
                  for s in ((784, 512), (512,), (512, 512), (512,), (512, 10), (10,))]

        def loss(p):
            h = jax.nn.relu(x @ p[0] + p[1])
            return jax_cross_entropy(jax.nn.relu(h @ p[2] + p[3]) @ p[4] + p[5], y)

        def update(p, m, v, t):
            value, g = jax.value_and_grad(loss)(p)
            new = [jax_adam(*a, t) for a in zip(p, g, m, v)]
            return value, *([n[i] for n in new] for i in range(3))
        state = [params, [jnp.zeros_like(p) for p in params], [jnp.zeros_like(p) for p in params]]
        run, at = jax.jit(update, donate_argnums=(0, 1, 2)), [0]
    elif name == "adam":
        make = lambda scale: [jnp.asarray(np.random.randn(*s).astype(np.float32) * scale) for s in adam_shapes()]
        g = make(0.01)
        state = [make(0.05), make(0), [jnp.abs(a) for a in make(1e-3)]]

        def update(p, m, v, t):
            new = [jax_adam(*a, t) for a in zip(p, g, m, v)]
            return 0.0, *([n[i] for n in new] for i in range(3))
        run, at = jax.jit(update, donate_argnums=(0, 1, 2)), [0]
    else:
        f = jax_function(name)
        if not f:
            return None
        args, run = [jnp.asarray(a) for a in inputs], jax.jit(f)

        def plain():
            out = jax.block_until_ready(run(*args))
            return list(out) if isinstance(out, tuple) else [out]
        return plain

    def train():
        at[0] += 1
        value, state[0], state[1], state[2] = run(state[0], state[1], state[2], float(at[0]))
        jax.block_until_ready(state)
        return []
    return train


# ---- the talk --------------------------------------------------------------------------------------------------------


def adam_shapes():
    out = []

    def layer(i, o, k):
        out.extend([(o, i, k, k), (o,), (o,)])
    layer(3, 64, 7)
    i = 64
    for stage, blocks in enumerate((3, 4, 6, 3)):
        mid = 64 << stage
        for b in range(blocks):
            layer(i, mid, 1)
            layer(mid, mid, 3)
            layer(mid, 4 * mid, 1)
            if b == 0:
                layer(i, 4 * mid, 1)
            i = 4 * mid
    return out + [(1000, 2048), (1000,)]


def error(results, wanted):
    """Largest difference, relative to the largest value of that result; -1: nothing to compare."""
    worst = -1.0
    for r, path in zip(results, wanted):
        r = np.asarray(r.detach() if torch and isinstance(r, torch.Tensor) else r)
        kind = np.int64 if np.issubdtype(r.dtype, np.integer) else np.float32
        w = np.fromfile(path, kind).reshape(r.shape).astype(np.float64)
        worst = max(worst, float(np.max(np.abs(r - w)) / max(np.max(np.abs(w)), 1e-30)))
    return worst


def prepare(name, folder, ins, outs):
    inputs = [load(folder, "in", i, s) for i, s in enumerate(shapes(name)[:ins])]
    wanted = [f"{folder}/out{i}" for i in range(outs)]
    makers = {}
    if torch:
        makers["torch"] = lambda: torch_step(name, inputs, lambda f: f)
        makers["torch.compile"] = lambda: torch_step(name, inputs, torch.compile)
    if jax:
        makers["jax.jit"] = lambda: jax_step(name, inputs)
    steps, said = {}, []
    for kind, make in makers.items():
        try:
            step = make()
            if step:
                said.append(f"{kind} {error(step() or [], wanted):g}")
                step()
                steps[kind] = step
        except Exception as e:
            print(f"{name} in {kind}: {type(e).__name__}: {e}", file=sys.stderr)
    return steps, " ".join(said)


def timed(step):
    t = time.perf_counter()
    step()
    return 1e3 * (time.perf_counter() - t)


def turn(step):
    """One untimed step, then timed ones for 4 ms, at most 9: their median. As bench_time.c does it."""
    step()
    times = []
    while not times or (len(times) < 9 and sum(times) < 4):
        times.append(timed(step))
    return float(np.median(times))


steps = {}
for line in sys.stdin:
    words = line.split()
    if words[0] == "open":
        if torch:
            torch._dynamo.reset()
        steps, answer = prepare(words[1], words[2], int(words[3]), int(words[4]))
    else:
        answer = f"{turn(steps[words[1]]):.6f}"
    print(answer, file=answers, flush=True)
