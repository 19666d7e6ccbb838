"""The benchmark's workloads in JAX: one jitted function a step, images channels-last, state donated."""
import jax
import jax.numpy as jnp

from bench_peers_names import conv_numbers


def start(threads):
    pass  # its pool is as large as the set of processors that it may use


def reset():
    jax.clear_caches()


# ---- functions of the inputs ------------------------------------------------------------------------------------------


def attention(q, k, v):
    n, d = q.shape[-2:]
    s = jnp.where(jnp.tril(jnp.ones((n, n), bool)), q @ jnp.swapaxes(k, -1, -2) / d**0.5, -jnp.inf)
    return jax.nn.softmax(s, -1) @ v


def cross_entropy(z, y):
    return -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(z), y[:, None], 1))


def layer_norm(x, g, b):
    m, v = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
    return (x - m) / jnp.sqrt(v + 1e-5) * g + b


def convolution(x, w, stride, padding, groups=1, order="NHWC"):
    return jax.lax.conv_general_dilated(x, w, (stride, stride), [(padding, padding)] * 2,
                                        dimension_numbers=(order, "OIHW", order), feature_group_count=groups)


def with_gradients(f):
    def both(d, *args):
        y, back = jax.vjp(f, *args)
        return y, *back(d)
    return both


def head(h, y, w):
    loss, grads = jax.value_and_grad(lambda h, w: cross_entropy(h @ w.T, y), (0, 1))(h, w)
    return loss, *grads


def conv_function(name):
    k, _, _, st, g = conv_numbers(name)
    f = lambda x, w: convolution(x, w, st, k // 2, g, "NCHW")
    if name.endswith("_dx"):
        return lambda x, w, d: jax.vjp(lambda x: f(x, w), x)[1](d)[0]
    if name.endswith("_dw"):
        return lambda x, w, d: jax.vjp(lambda w: f(x, w), w)[1](d)[0]
    return f


def plain_function(name):
    if name == "matmul_bias_relu":
        return lambda a, b, c: jax.nn.relu(a @ b + c)
    if name.startswith("matmul_"):
        return lambda a, b: a @ b
    if name.startswith("softmax_"):
        return lambda x: jax.nn.softmax(x, -1)
    if name.startswith("conv"):
        return conv_function(name)
    return {
        "layernorm_fwd": layer_norm,
        "layernorm_fb": lambda x, d, g, b: with_gradients(layer_norm)(d, x, g, b),
        "attention": with_gradients(attention),
        "head": head,
        "gelu_chain": lambda x, b, s: jax.nn.gelu(x + b, approximate=True) + s,
        "sum_axis0": lambda x: x.sum(0), "sum_axis1": lambda x: x.sum(1), "sum_all": lambda x: x.sum(),
        "argmax_axis1": lambda x: x.argmax(1),
        "transpose": lambda x: x.T,
        "gather_32k": lambda x, i: x[i],
    }.get(name)


# ---- networks: parameters in our order ------------------------------------------------------------------------------------


class Net:
    """One forward pass, which takes parameters and statistics as it meets them."""

    def __init__(self, params, stats):
        self.params, self.old, self.new = iter(params), iter(stats), []

    def linear(self, x):
        return x @ next(self.params) + next(self.params)

    def norm(self, x):
        return layer_norm(x, next(self.params), next(self.params))

    def conv(self, x, stride=1, padding=0):
        return convolution(x, next(self.params), stride, padding)

    def batch_norm(self, x):
        mean, var, n = x.mean((0, 1, 2)), x.var((0, 1, 2)), x[..., 0].size
        for old, now in ((next(self.old), mean), (next(self.old), var * (n / (n - 1)))):
            self.new.append(0.9 * old + 0.1 * jax.lax.stop_gradient(now))
        return (x - mean) / jnp.sqrt(var + 1e-5) * next(self.params).reshape(-1) + next(self.params).reshape(-1)


def pool(x):
    n, h, w, c = x.shape
    return x.reshape(n, h // 2, 2, w // 2, 2, c).max((2, 4))


def mlp(net, x):
    return net.linear(jax.nn.relu(net.linear(jax.nn.relu(net.linear(x)))))


def cnn(net, x):
    x = net.conv(jax.nn.relu(net.conv(x)))
    x = pool(jax.nn.relu(net.batch_norm(x)))
    x = net.conv(jax.nn.relu(net.conv(x)))
    x = pool(jax.nn.relu(net.batch_norm(x)))
    return net.linear(x.transpose(0, 3, 1, 2).reshape(x.shape[0], -1))


def block(net, x, stride):
    y = jax.nn.relu(net.batch_norm(net.conv(x, stride, 1)))
    y = net.batch_norm(net.conv(y, 1, 1))
    return jax.nn.relu(y + (x if stride == 1 else net.batch_norm(net.conv(x, stride, 0))))


def resnet20(net, x):
    x = jax.nn.relu(net.batch_norm(net.conv(x, 1, 1)))
    for stride in (1, 1, 1, 2, 1, 1, 2, 1, 1):
        x = block(net, x, stride)
    return net.linear(x.mean((1, 2)))


def gpt_small(net, i):
    x = next(net.params)[i].reshape(12, 64, 128) + next(net.params)
    for _ in range(4):
        q, k, v = (t.reshape(12, 64, 4, 32).swapaxes(1, 2) for t in jnp.split(net.linear(net.norm(x)), 3, -1))
        x = x + net.linear(attention(q, k, v).swapaxes(1, 2).reshape(12, 64, 128))
        x = x + net.linear(jax.nn.gelu(net.linear(net.norm(x)), approximate=False))
    return net.linear(net.norm(x)).reshape(768, 65)


NETWORKS = {"mlp": (mlp, []), "cnn": (cnn, [32, 64]), "gpt_small": (gpt_small, []),
            "resnet20": (resnet20, [16] * 7 + [32] * 7 + [64] * 7)}  # channels of the batch norms


def adam(p, g, m, v, t):
    m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
    return p - 1e-3 * (m / (1 - 0.9**t)) / (jnp.sqrt(v / (1 - 0.999**t)) + 1e-8), m, v


def sgd(p, g, m, v, t):
    m = 0.9 * m + g + 1e-4 * p
    return p - 0.1 * m, m, v


def update_all(rule, params, grads, m, v, t):
    new = [rule(*a, t) for a in zip(params, grads, m, v)]
    return [[n[i] for n in new] for i in range(3)]


# ---- steps: functions of no arguments ------------------------------------------------------------------------------------


def train_step(name, inputs, params):
    network, widths = NETWORKS[name]
    rule = sgd if name == "resnet20" else adam
    x, y = inputs
    x = x.transpose(0, 2, 3, 1) if x.ndim == 4 else x
    x, y = jnp.asarray(x), jnp.asarray(y)

    def loss(params, stats, x, y):
        net = Net(params, stats)
        return cross_entropy(network(net, x), y), net.new

    def update(params, stats, m, v, t, x, y):
        (value, stats), grads = jax.value_and_grad(loss, has_aux=True)(params, stats, x, y)
        params, m, v = update_all(rule, params, grads, m, v, t)
        return value, params, stats, m, v

    params = [jnp.array(p) for p in params]
    stats = [s for w in widths for s in (jnp.zeros(w), jnp.ones(w))]
    zeros = lambda: [jnp.zeros_like(p) for p in params]
    state = [params, stats, zeros(), [jnp.zeros(()) for _ in params] if rule is sgd else zeros()]
    run, at = jax.jit(update, donate_argnums=(0, 1, 2, 3)), [0]

    def step():
        at[0] += 1
        value, *state[:] = jax.block_until_ready(run(*state, float(at[0]), x, y))
        return [value]
    return step


def adam_step(given):
    params, grads = ([jnp.array(a) for a in given[i::2]] for i in range(2))
    state = [params, *([jnp.zeros_like(p) for p in params] for _ in range(2))]
    run = jax.jit(lambda p, m, v, g, t: update_all(adam, p, g, m, v, t), donate_argnums=(0, 1, 2))
    at = [0]

    def step():
        at[0] += 1
        state[:] = jax.block_until_ready(run(*state, grads, float(at[0])))
        return [a for pair in zip(state[0], grads) for a in pair]
    return step


def plain_step(f, inputs):
    args, run = [jnp.array(a) for a in inputs], jax.jit(f)

    def step():
        out = jax.block_until_ready(run(*args))
        return list(out) if isinstance(out, tuple) else [out]
    return step


def make(name, inputs, params):
    if name in NETWORKS:
        return train_step(name, inputs, params)
    if name == "adam":
        return adam_step(params)
    f = plain_function(name)
    return plain_step(f, inputs + params) if f else None


def kinds(name, inputs, params):
    return {"jax.jit": lambda: make(name, inputs, params)}
