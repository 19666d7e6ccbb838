"""Some of the benchmark's workloads in tinygrad: forward functions, each a TinyJit."""
import os

os.environ["DEV"] = "CPU"
os.environ["CACHELEVEL"] = "0"  # a first step is one that nothing was compiled for

from tinygrad import Device, Tensor, TinyJit


def start(threads):
    pass  # its threads are as many as the processors that it may use


def reset():
    pass


def plain_function(name):
    if name == "matmul_bias_relu":
        return lambda a, b, c: (a @ b + c).relu()
    if name.startswith("matmul_"):
        return lambda a, b: a @ b
    if name.startswith("softmax_"):
        return lambda x: x.softmax(-1)
    return {
        "layernorm_fwd": lambda x, g, b: x.layernorm(eps=1e-5) * g + b,
        "gelu_chain": lambda x, b, s: (x + b).gelu() + s,
        "sum_axis0": lambda x: x.sum(0), "sum_axis1": lambda x: x.sum(1), "sum_all": lambda x: x.sum(),
        "transpose": lambda x: x.T.contiguous(),
    }.get(name)


class Host:
    """What a comparison asks for, read only then."""

    def __init__(self, t):
        self.t = t

    def __array__(self, *args, **kwargs):
        return self.t.numpy()


def make(name, inputs):
    f = plain_function(name)
    if not f:
        return None
    args, run = [Tensor(a).realize() for a in inputs], TinyJit(lambda *args: f(*args).realize())

    def step():
        out = run(*args)
        Device[Device.DEFAULT].synchronize()
        return [Host(out)]
    return step


def kinds(name, inputs, params):
    return {"tinygrad": lambda: make(name, inputs)}
