"""The benchmark's workloads in PyTorch: eager, eager on channels-last tensors where there are images, and compiled (on
those too); on a GPU also eager steps captured in a CUDA graph. Of a network, forward pass and loss are compiled together; the optimizers are torch's fused ones."""
import os

os.environ["TORCHINDUCTOR_FORCE_DISABLE_CACHES"] = "1"  # a first step is one that nothing was compiled for

import torch
import torch.nn as nn
import torch.nn.functional as F

from bench_peers_names import conv_numbers

DEVICE = os.environ.get("TGC_PEER_DEVICE", "cpu")
GPU_SIZES = {"layernorm_fwd_32768x4096": "layernorm_fwd", "layernorm_fb_32768x4096": "layernorm_fb", "head_8192": "head"}


def start(threads):
    torch.set_num_threads(threads)
    tf32 = os.environ.get("TGC_MATMUL_PRECISION") == "tf32"  # f32 is as exact as ours
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = tf32
    if DEVICE == "cuda" and not torch.cuda.is_available():
        raise ImportError("it sees no GPU")


def wait():
    if DEVICE == "cuda":
        torch.cuda.synchronize()


def reset():
    torch._dynamo.reset()


def plain_function(name):
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
        "layernorm_fwd": lambda x, g, b: F.layer_norm(x, x.shape[-1:], g, b),
        "gelu_chain": lambda x, b, s: F.gelu(x + b, approximate="tanh") + s,
        "sum_axis0": lambda x: x.sum(0), "sum_axis1": lambda x: x.sum(1), "sum_all": lambda x: x.sum(),
        "argmax_axis1": lambda x: x.argmax(1),
        "transpose": lambda x: x.t().contiguous(),
        "gather_32k": lambda x, i: x.index_select(0, i),
    }.get(name)


def backward(name):
    """(forward, which inputs want a gradient, which is the gradient handed down or None)."""
    return {
        "layernorm_fb": (lambda x, d, g, b: F.layer_norm(x, x.shape[-1:], g, b), (0, 2, 3), 1),
        "attention": (lambda d, q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True), (1, 2, 3), 0),
        "head": (lambda h, y, w: F.cross_entropy(h @ w.t(), y), (0, 2), None),
    }.get(name)


def network(name, tokens):
    if name == "mlp":
        return nn.Sequential(nn.Linear(784, 512), nn.ReLU(), nn.Linear(512, 512), nn.ReLU(), nn.Linear(512, 10))
    if name == "cnn":
        return nn.Sequential(
            nn.Conv2d(1, 32, 5, bias=False), nn.ReLU(), nn.Conv2d(32, 32, 5, bias=False), nn.BatchNorm2d(32), nn.ReLU(),
            nn.MaxPool2d(2), nn.Conv2d(32, 64, 3, bias=False), nn.ReLU(), nn.Conv2d(64, 64, 3, bias=False),
            nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(576, 10))
    if name == "resnet20":
        return ResNet()
    if name == "gpt_small":
        return Gpt(4, 128, 4, 64, 65, 64, "none", False)
    if name == "gpt2_124m":
        return Gpt(12, 768, 12, tokens if tokens < 1024 else 1024, 50257, 1024, "tanh", True)
    return None


class Block(nn.Module):
    def __init__(self, i, o, stride):
        super().__init__()
        conv = lambda i, o, k, s: nn.Sequential(nn.Conv2d(i, o, k, s, k // 2, bias=False), nn.BatchNorm2d(o))
        self.a, self.b = conv(i, o, 3, stride), conv(o, o, 3, 1)
        self.short = conv(i, o, 1, stride) if stride != 1 else nn.Identity()

    def forward(self, x):
        return F.relu(self.b(F.relu(self.a(x))) + self.short(x))


class ResNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU())
        widths = [16] * 4 + [32] * 3 + [64] * 3
        pairs = list(zip(widths, widths[1:]))
        self.blocks = nn.Sequential(*[Block(i, o, 1 if i == o else 2) for i, o in pairs])
        self.out = nn.Linear(64, 10)

    def forward(self, x):
        return self.out(self.blocks(self.stem(x)).mean((2, 3)))


class Layer(nn.Module):
    def __init__(self, n, heads, gelu):
        super().__init__()
        self.heads, self.gelu = heads, gelu
        self.n1, self.qkv, self.proj = nn.LayerNorm(n), nn.Linear(n, 3 * n), nn.Linear(n, n)
        self.n2, self.up, self.down = nn.LayerNorm(n), nn.Linear(n, 4 * n), nn.Linear(4 * n, n)

    def forward(self, x):
        b, t, n = x.shape
        q, k, v = (y.view(b, t, self.heads, n // self.heads).transpose(1, 2) for y in self.qkv(self.n1(x)).split(n, 2))
        a = F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).reshape(b, t, n)
        x = x + self.proj(a)
        return x + self.down(F.gelu(self.up(self.n2(x)), approximate=self.gelu))


class Gpt(nn.Module):
    """length: tokens of each text; words: how many there are; tied: the head is their table."""
    def __init__(self, layers, n, heads, length, words, places, gelu, tied):
        super().__init__()
        self.length = length
        self.tokens, self.places = nn.Embedding(words, n), nn.Embedding(places, n)
        self.layers = nn.Sequential(*[Layer(n, heads, gelu) for _ in range(layers)])
        self.norm, self.out = nn.LayerNorm(n), None if tied else nn.Linear(n, words)

    def forward(self, i):
        x = self.tokens(i.view(-1, self.length)) + self.places(torch.arange(self.length, device=i.device))
        x = self.norm(self.layers(x)).flatten(0, 1)
        return F.linear(x, self.tokens.weight) if self.out is None else self.out(x)


def tensor(a, layout):
    t = torch.from_numpy(a.copy()).to(DEVICE)
    if t.dtype == torch.int32:
        return t.long()
    return t.contiguous(memory_format=layout) if t.dim() == 4 else t


def fill(net, params):
    """Ours come in the same order; a linear layer's weight is [in, out]."""
    turned = {id(m.weight) for m in net.modules() if isinstance(m, nn.Linear)}
    with torch.no_grad():
        for p, a in zip(net.parameters(), params, strict=True):
            a = torch.from_numpy(a).to(DEVICE)
            p.copy_(a.t() if id(p) in turned else a.view(p.shape))


def optimizer(name, params):
    if name == "resnet20":
        return torch.optim.SGD(params, lr=0.1, momentum=0.9, weight_decay=1e-4, fused=True)
    return torch.optim.AdamW(params, lr=1e-3, weight_decay=0, fused=True, capturable=DEVICE == "cuda")


def state_of(opt):
    """Tensors that the optimizer keeps; none before its first step."""
    return [v for s in opt.state.values() for v in s.values() if torch.is_tensor(v)]


def autocast(f):
    def inside(*args):
        with torch.autocast(DEVICE, torch.bfloat16):
            return f(*args)
    return inside


def train_step(name, net, args, params, wrap, layout, bf16):
    net = net.to(DEVICE, memory_format=layout)
    fill(net, params)
    opt = optimizer(name, net.parameters())
    forward = wrap(autocast(lambda x, y: F.cross_entropy(net(x), y)) if bf16 else lambda x, y: F.cross_entropy(net(x), y))

    def run():
        opt.zero_grad(set_to_none=True)
        loss = forward(*args)
        loss.backward()
        opt.step()
        return [loss.detach()]
    return run, lambda: [*net.parameters(), *net.buffers(), *state_of(opt)]


def numbers(run):
    """A step whose results the host has when it returns."""
    return lambda: [r.item() for r in run()]


def graphed(run, keep):
    """A step as one CUDA graph. What warming up and capturing changed is put back: `keep` are tensors."""
    side = torch.cuda.Stream()
    before = [t.detach().clone() for t in keep()]
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            run()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        results = run()
    with torch.no_grad():
        for i, t in enumerate(keep()):
            if i < len(before):
                t.copy_(before[i])
            else:
                t.zero_()  # an optimizer's state that the first step made

    def step():
        graph.replay()
        return results
    return step


def backward_step(name, args, wrap):
    f, wrt, given = backward(name)
    for i in wrt:
        args[i].requires_grad_()
    forward = wrap(f)

    def step():
        y = forward(*args)
        grads = torch.autograd.grad(y, [args[i] for i in wrt], None if given is None else args[given])
        return [y, *grads]
    return step


def adam_step(given, wrap):
    params = [nn.Parameter(tensor(p, torch.contiguous_format)) for p in given[::2]]
    for p, g in zip(params, given[1::2]):
        p.grad = tensor(g, torch.contiguous_format)
    opt = optimizer("adam", params)
    update = wrap(opt.step)

    def step():
        update()
        return [a for p in params for a in (p, p.grad)]
    return step, lambda: [*params, *state_of(opt)]


def make(name, inputs, params, wrap, layout=torch.contiguous_format, graph=False):
    if name == "adam":
        step, keep = adam_step(params, wrap)
        return graphed(step, keep) if graph else step
    name, bf16 = GPU_SIZES.get(name, name).removesuffix("_bf16"), name.endswith("_bf16")
    net = network(name, len(inputs[0]) if inputs else 0)
    if net:
        step, keep = train_step(name, net, [tensor(a, layout) for a in inputs], params, wrap, layout, bf16)
        return numbers(graphed(step, keep) if graph else step)
    args = [tensor(a, layout) for a in inputs + params]
    if backward(name):
        forward = (lambda f: wrap(lambda *a: autocast(f)(*a).float())) if bf16 else wrap
        step = backward_step(name, args, forward)
        return graphed(step, list) if graph else step
    f = plain_function(name)
    if not f:
        return None
    forward = wrap(f)
    args = [a.bfloat16() for a in args] if bf16 else args

    def step():
        with torch.no_grad():
            return [forward(*args)]
    return graphed(step, list) if graph else step


def kinds(name, inputs, params):
    plain, compiled = lambda f: f, lambda f: torch.compile(f, dynamic=False)
    images = name.startswith("conv") or name in ("cnn", "resnet20", "resnet20_bf16")
    layout = torch.channels_last if images else torch.contiguous_format
    out = {"torch": lambda: make(name, inputs, params, plain)}
    if images:
        out["torch.channels_last"] = lambda: make(name, inputs, params, plain, layout)
    if DEVICE == "cuda":
        out["torch.graph"] = lambda: make(name, inputs, params, plain, layout, True)
    out["torch.compile"] = lambda: make(name, inputs, params, compiled, layout)
    return out
