"""The three workloads of bench.c in PyTorch, eager and compiled. Needs torch; no part of the tests."""
import statistics, sys, time
import torch
import torch.nn.functional as F

threads = int(sys.argv[1]) if len(sys.argv) > 1 else 2
torch.set_num_threads(threads)
torch.set_grad_enabled(False)
r = torch.randn
channels_last = torch.channels_last
workloads = {
    "matmul_512x512x512": (lambda a, b: a @ b, [r(512, 512), r(512, 512)], 2 * 512**3, 0),
    "conv3_32-32_16": (
        lambda x, w: F.conv2d(x, w, padding=1),
        [r(64, 32, 16, 16).to(memory_format=channels_last), r(32, 32, 3, 3).to(memory_format=channels_last)],
        2 * 64 * 256 * 32 * 32 * 9, 0),
    "gelu_chain": (
        lambda x, b, s: F.gelu(x + b, approximate="tanh") + s,
        [r(16384, 1024), r(1024), r(16384, 1024)], 0, 3 * 16384 * 1024 * 4),
}
for name, (f, args, flops, nbytes) in workloads.items():
    for kind, g in (("eager", f), ("compiled", torch.compile(f))):
        for _ in range(3):
            g(*args)
        times = []
        for _ in range(41):
            t = time.perf_counter()
            g(*args)
            times.append(time.perf_counter() - t)
        ms = statistics.median(times) * 1e3
        rate = 1e-6 * (flops or nbytes) / ms
        print(f"{name:20} {kind:8} {ms:9.3f} ms  {rate:7.1f} {'GFLOP/s' if flops else 'GB/s'}")
