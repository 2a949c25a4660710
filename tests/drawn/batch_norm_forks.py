"""BN, in each of its forms."""

from __future__ import annotations

from hypothesis import strategies as st

from tests.drawn.base import Draw, Drawn, drawn, fields, generator, layer, maybe, normal, shape


@drawn("BN")
@st.composite
def bn(draw: Draw) -> Drawn:
    form = draw(st.sampled_from(["slope", "INFERENCE", "LEARN", "batch"]))
    sizes = shape(draw, draw(st.integers(2, 5)) if form == "slope" else 4)
    values = generator(draw).standard_normal((4, sizes[1])).astype("float32")
    values[3] = abs(values[3]) + 0.1
    axes = draw(st.sampled_from([1, 2, 4]))
    blobs = [row.reshape((1,) * (axes > 1) + (-1,) + (1,) * (axes - 2)) for row in values]
    if form == "slope":
        whose = draw(st.sampled_from(["pspnet", "caffe_windows", "segstereo"]))
        eps = draw(maybe(st.sampled_from([0.0, 1e-3])))
        params = fields(**{"eps" if whose == "pspnet" else "var_eps": eps}, frozen=draw(maybe(st.booleans())))
        if whose == "caffe_windows":
            params += " " + fields(moving_average=True, decay=draw(maybe(st.just(0.05))))
        elif whose == "segstereo":
            params += " " + fields(use_history_in_test=True, moving_average=draw(maybe(st.booleans())))
    elif form == "batch":
        params = "var_eps: 1e-3 " + fields(moving_average=draw(maybe(st.just(False))), decay=draw(maybe(st.just(0.5))))
        sizes = (*sizes[:2], 3, 12)
    else:
        params, blobs = f"bn_mode: {form}", blobs[:2]
    tops = draw(st.sampled_from(["out", "out mean", "out mean variance"])) if form == "LEARN" else "out"
    if draw(st.booleans()):
        params += " scale_filler { value: 2 } shift_filler { type: 'uniform' }"
        text = layer("BN", f"bn_param {{ {params} }}", tops=tops)
        return Drawn(text, {"x": normal(draw, *sizes[:2], 3, 12)}, tolerance=1e-4)
    text = layer("BN", f"bn_param {{ {params} }}", tops=tops)
    return Drawn(text, {"x": normal(draw, *sizes)}, blobs={"it": blobs}, tolerance=1e-4)
