"""What the names of the benchmark's workloads say."""


def conv_numbers(name):
    p = name[4:].split("_")
    return int(p[0]), [int(c) for c in p[1].split("-")], int(p[2]), int(p[3][1:]), int(p[4][1:])
