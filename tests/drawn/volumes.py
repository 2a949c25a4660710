"""Convolution and pooling over frames, rows and columns."""

from __future__ import annotations

from hypothesis import strategies as st

from tests.drawn.base import Draw, Drawn, apart, drawn, layer, maybe, normal, section, uniform

FILLERS = st.sampled_from(([], [uniform("weight_filler"), uniform("bias_filler")]))


def numbers(draw: Draw, count: int, least: int, most: int) -> tuple[int, ...]:
    return tuple(draw(st.integers(least, most)) for _ in range(count))


def shaped(name: str, values: tuple[int, ...]) -> str:
    return f"{name} {{ {' '.join(f'dim: {v}' for v in values)} }}"


def film(draw: Draw, kind: str, transposed: bool) -> Drawn:
    """The two sections that C3D has its fields in, and sizes that the kernel fits."""
    (depth, kernel), (frames, stride) = numbers(draw, 2, 1, 3), numbers(draw, 2, 1, 3)
    behind, pad = numbers(draw, 2, 0, 2)
    channels, outputs = draw(st.permutations((1, 2, 3, 4)))[:2]
    params = section(
        draw(st.sampled_from(("convolution_param", "convolution3d_param"))),
        *draw(FILLERS),
        num_output=outputs,
        bias_term=draw(maybe(st.booleans())),
        kernel_size=kernel,
        kernel_depth=depth,
        stride=draw(maybe(st.just(1))) if stride == 1 else stride,
        temporal_stride=draw(maybe(st.just(1))) if frames == 1 else frames,
        pad=draw(maybe(st.just(0))) if pad == 0 else pad,
        temporal_pad=draw(maybe(st.just(0))) if behind == 0 else behind,
        filter_group=None if transposed else draw(maybe(st.sampled_from([g for g in (1, 2, 3) if outputs % g == 0]))),
    )
    least = [max(1, k - 2 * p) for k, p in ((depth, behind), (kernel, pad), (kernel, pad))]
    if transposed:
        least = [
            max(1, -(-(2 * p - k + 1) // s) + 1)
            for k, s, p in ((depth, frames, behind), (kernel, stride, pad), (kernel, stride, pad))
        ]
    sizes = [size + draw(st.integers(0, 3)) for size in least]
    return Drawn(layer(kind, params), {"x": normal(draw, 2, channels, *sizes)})


@drawn("Convolution3D")
@st.composite
def convolution3d(draw: Draw) -> Drawn:
    return film(draw, "Convolution3D", transposed=False)


@drawn("Deconvolution3D")
@st.composite
def deconvolution3d(draw: Draw) -> Drawn:
    return film(draw, "Deconvolution3D", transposed=True)


@drawn("NdConvolution")
@st.composite
def nd_convolution(draw: Draw) -> Drawn:
    axes, group = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    kernel, stride, pad = numbers(draw, axes, 1, 3), numbers(draw, axes, 1, 3), numbers(draw, axes, 0, 3)
    given = [shaped("kernel_shape", kernel)]
    if set(stride) != {1} or draw(st.booleans()):
        given.append(shaped("stride_shape", stride))
    if any(pad) or draw(st.booleans()):
        given.append(shaped("pad_shape", pad))
    channels, outputs = (group * n for n in draw(st.permutations((1, 2, 3)))[:2])
    params = section(
        "convolution_param",
        *given,
        *draw(FILLERS),
        num_output=outputs,
        bias_term=draw(maybe(st.booleans())),
        group=draw(maybe(st.just(1))) if group == 1 else group,
        engine=draw(maybe(st.sampled_from(("DEFAULT", "CUDNN")))),
    )
    sizes = [max(1, k - 2 * p) + draw(st.integers(0, 3)) for k, p in zip(kernel, pad, strict=True)]
    return Drawn(layer("NdConvolution", params), {"x": normal(draw, 2, channels, *sizes)})


@drawn("Pooling3D")
@st.composite
def pooling_of_c3d(draw: Draw) -> Drawn:
    """Strides may exceed kernels: a last window may then lie behind the image."""
    method = draw(maybe(st.sampled_from(("MAX", "AVE"))))
    (depth, kernel), (frames, stride) = numbers(draw, 2, 1, 3), numbers(draw, 2, 1, 4)
    pad = draw(st.integers(0, 3)) if method == "AVE" else 0
    params = section(
        draw(st.sampled_from(("pooling_param", "pooling3d_param"))),
        pool=method,
        kernel_size=kernel,
        kernel_depth=depth,
        stride=draw(maybe(st.just(1))) if stride == 1 else stride,
        temporal_stride=draw(maybe(st.just(1))) if frames == 1 else frames,
        pad=pad or draw(maybe(st.just(0))),
    )
    sizes = [max(1, k - 2 * p) + draw(st.integers(0, 5)) for k, p in ((depth, 0), (kernel, pad), (kernel, pad))]
    return Drawn(layer("Pooling3D", params), {"x": apart(draw, 2, 3, *sizes)})


@drawn("Pooling3D")
@st.composite
def pooling_of_synopsys(draw: Draw) -> Drawn:
    kernel, stride = numbers(draw, 3, 1, 3), numbers(draw, 3, 1, 3)
    before, behind = numbers(draw, 3, 0, 2), numbers(draw, 3, 0, 2)
    given: dict[str, object] = {}
    for stem, values in (("kernel", kernel), ("stride", stride)):
        if len(set(values)) == 1:
            given["kernel_size" if stem == "kernel" else stem] = values[0]
        else:
            given |= {f"{stem}_{axis}": v for axis, v in zip("dhw", values, strict=True)}
    if len({*before, *behind}) == 1:
        given["pad"] = before[0]
    else:
        given |= {f"pad_{axis}0": v for axis, v in zip("dhw", before, strict=True)}
        given |= {f"pad_{axis}1": v for axis, v in zip("dhw", behind, strict=True)}
    if draw(st.integers(0, 5)) == 0:
        given = {name: v for name, v in given.items() if not name.startswith(("kernel", "pad"))}
        given["global_pooling"] = True
    method = draw(maybe(st.sampled_from(("MAX", "AVE", "AVE_EXC_PAD"))))
    params = section("pooling3d_param", pool=method, ceil_mode=draw(maybe(st.booleans())), **given)
    sizes = [k + draw(st.integers(0, 4)) for k in kernel]
    return Drawn(layer("Pooling3D", params), {"x": apart(draw, 2, 3, *sizes)})


@drawn("Pooling3D")
@st.composite
def pooling_of_p3d(draw: Draw) -> Drawn:
    """Sides of rows and columns apart or together; windows in the padding or over the end."""
    kernel, stride = numbers(draw, 3, 1, 3), numbers(draw, 3, 1, 3)
    pad: tuple[int, ...] = tuple(draw(st.integers(0, k - 1)) for k in kernel)
    given: dict[str, object] = {}
    for stem, one, values in (("kernel", "kernel_size", kernel), ("stride", "stride", stride), ("pad", "pad", pad)):
        given[f"{stem}_l"] = values[0]
        if values[1] == values[2] and draw(st.booleans()):
            given[one] = values[1]
        else:
            given |= {f"{stem}_h": values[1], f"{stem}_w": values[2]}
    if draw(st.integers(0, 5)) == 0:
        given = {"global_pooling": True, "pad_l": 0, "stride_l": 1}
    params = section("pooling3d_param", pool=draw(maybe(st.sampled_from(("MAX", "AVE")))), **given)
    sizes = [k + draw(st.integers(0, 4)) for k in kernel]
    return Drawn(layer("Pooling3D", params), {"x": apart(draw, 2, 3, *sizes)})


@drawn("NdPooling")
@st.composite
def nd_pooling(draw: Draw) -> Drawn:
    """An average has its windows end where the padded image ends, or before."""
    axes, method = draw(st.integers(1, 3)), draw(maybe(st.sampled_from(("MAX", "AVE"))))
    kernel, stride = numbers(draw, axes, 1, 4), numbers(draw, axes, 1, 3)
    pad = tuple(draw(st.integers(0, k - 1)) for k in kernel)
    whole = draw(st.integers(0, 5)) == 0
    given = [shaped("kernel_shape", kernel)]
    if whole:
        pad, stride = (0,) * axes, (1,) * axes
    if set(stride) != {1} or draw(st.booleans()):
        given.append(shaped("stride_shape", stride))
    if any(pad) or draw(st.booleans()):
        given.append(shaped("pad_shape", pad))
    sizes = []
    for k, s, p in zip(kernel, stride, pad, strict=True):
        windows = draw(st.integers(1, 3))
        exact = max(1, (windows - 1) * s + k - 2 * p)
        while method == "AVE" and not whole and (exact + 2 * p - k) % s:
            exact += 1
        sizes.append(exact if method == "AVE" else exact + draw(st.integers(0, 3)))
    params = section(
        "pooling_param", *given, pool=method, global_pooling=True if whole else draw(maybe(st.just(False)))
    )
    return Drawn(layer("NdPooling", params), {"x": apart(draw, 2, 3, *sizes)})
