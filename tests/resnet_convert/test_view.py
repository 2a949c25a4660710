"""The picture of a net: the page in a real browser, at the widths of a phone and a desk, light and dark."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tarfile
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

import resnet_convert
from prototxt.errors import RequestError
from resnet_convert.cli.main import main
from tests.browser import visit

pytest.importorskip("graphlay", reason="pictures are laid out by graphlay")

ROOT = Path(__file__).resolve().parents[3]
MODELS = ROOT / "shared" / "golden" / "models"
CORPUS = ROOT / "shared" / "corpus" / "prototxt.tar.xz"
HOSTILE = "</script><img src=x onerror=alert(1)>\"'&\u202e\u2028層\n"
OF_CORPUS = (
    "BVLC+caffe/models/bvlc_googlenet/deploy.prototxt",
    "KaimingHe+deep-residual-networks/prototxt/ResNet-152-deploy.prototxt",
    "shicai+DenseNet-Caffe/DenseNet_201.prototxt",
    "imistyrain+ssd-models/ssd/SSD_300x300/deploy.prototxt",
    "beniz+deepdetect/templates/caffe/pspnet_101/deploy.prototxt",
    "PaddlePaddle+X2Paddle/test_benchmark/Caffe/SegFlow/deploy.prototxt",
    "chuanqi305+MobileNetv2-SSDLite/ssdlite/voc/deploy.prototxt",
    "CMU-Perceptual-Computing-Lab+openpose/models/pose/coco/pose_deploy_linevec.prototxt",
)
OF_MODELS = ("squeezenet-imagenet", "retinaface-mnet", "ultraface-slim-320", "nsfw-resnet50-thin")

# Boxes and labels that overlap, or that stand neither within a frame nor beside it, and lines that cross a box.
MEASURE = """
  const place = (e) => {
    const { left, top, right, bottom } = e.getBoundingClientRect();
    return { l: left, t: top, r: right, b: bottom };
  };
  const D = 0.3;
  const apart = (a, b) => a.r <= b.l + D || b.r <= a.l + D || a.b <= b.t + D || b.b <= a.t + D;
  const within = (a, b) => a.l >= b.l - D && a.r <= b.r + D && a.t >= b.t - D && a.b <= b.b + D;
  const covers = (b, x, y) => x > b.l + 2 && x < b.r - 2 && y > b.t + 2 && y < b.b - 2;
  function clashes() {
    const parts = all(".node, .pill").map(place).sort((a, b) => a.t - b.t), found = [];
    parts.forEach((a, i) => {
      for (let k = i + 1; k < parts.length && parts[k].t < a.b - D; k++)
        if (!apart(a, parts[k])) found.push([a, parts[k]]);
    });
    for (const frame of all(".frame").map(place))
      for (const part of parts) if (!within(part, frame) && !apart(frame, part)) found.push([frame, part]);
    const boxes = all(".node").map(place), matrix = find(".world svg").getScreenCTM();
    for (const line of all(".wire")) for (let at = 0; at < line.getTotalLength(); at += 15) {
      const { x, y } = line.getPointAtLength(at).matrixTransform(matrix);
      for (const box of boxes) if (covers(box, x, y)) found.push([x, y, box]);
    }
    return found.slice(0, 3);
  }
  seen.dark = matchMedia("(prefers-color-scheme: dark)").matches;
  seen.folded = clashes();
  seen.boxes = all(".node").length;
  press("button", "Open all");
  if (all(".node").length < 260) seen.opened = clashes();
  seen.all = all(".node").length;
"""


def page_of(net: Path | str, folder: Path, *more: str) -> Path:
    page = folder / "net.html"
    assert main(["view", str(net), *more, "-o", str(page), "-q"]) == 0
    return page


def residual(folder: Path, blocks: int = 4) -> Path:
    """A net of residual blocks whose maps differ in all their sizes."""

    def conv(name: str, bottom: str, channels: int) -> str:
        param = f"convolution_param {{ num_output: {channels} kernel_size: 3 pad: 1 }}"
        return f'layer {{ name: "{name}" type: "Convolution" bottom: "{bottom}" top: "{name}"\n  {param}\n}}\n'

    def relu(blob: str) -> str:
        return f'layer {{ name: "{blob}_relu" type: "ReLU" bottom: "{blob}" top: "{blob}" }}\n'

    shape = "input_param { shape { dim: 2 dim: 3 dim: 9 dim: 7 } }"
    text = f'name: "rest"\nlayer {{ name: "data" type: "Input" top: "data"\n  {shape}\n}}\n'
    text += conv("stem", "data", 8) + relu("stem")
    before = "stem"
    for i in range(blocks):
        text += conv(f"b{i}_one", before, 8) + relu(f"b{i}_one") + conv(f"b{i}_two", f"b{i}_one", 8)
        text += f'layer {{ name: "b{i}" type: "Eltwise" bottom: "{before}" bottom: "b{i}_two" top: "b{i}" }}\n' + relu(
            f"b{i}"
        )
        before = f"b{i}"
    (folder / "rest.prototxt").write_text(
        text + f'layer {{ name: "prob" type: "Softmax" bottom: "{before}" top: "prob" }}\n'
    )
    return folder / "rest.prototxt"


@pytest.mark.parametrize(("width", "dark"), [(360, True), (1280, False)])
def test_a_page_folds_opens_finds_and_shows(tmp_path: Path, width: int, dark: bool) -> None:
    page = page_of(residual(tmp_path), tmp_path)
    use = (
        MEASURE
        + """
      press("button", "Close all");
      seen.closed = all(".node").length;
      all(".node.run")[0].click();
      seen.blocks = all(".frame .head").map((head) => head.textContent);
      enter("#search", "b2_two", "input");
      seen.found = text("#found");
      seen.hits = all(".hit").length;
      find("#search").dispatchEvent(new KeyboardEvent("keydown", { key: "Enter" }));
      seen.head = text("#panel h2");
      seen.panel = text("#panel");
      seen.source = all("#panel pre span").map((line) => line.textContent);
      key("#net", "ArrowDown");
      seen.below = text("#panel h2");
      key("#net", "ArrowUp");
      seen.above = text("#panel h2");
      const turn = (more) => new WheelEvent("wheel", { deltaY: 50, cancelable: true, ...more });
      const wheel = (more) => find("#net").dispatchEvent(turn(more));
      const before = { ...net.view };
      wheel({});
      seen.panned = before.y - net.view.y;
      wheel({ ctrlKey: true });
      seen.zoomed = net.view.scale / before.scale;
      seen.totals = text("#totals");
      seen.bars = all("#bars rect").length;
    """
    )
    seen = visit(page, use, width, dark=dark)
    assert (seen["dark"], seen["wide"], seen["folded"], seen["opened"]) == (dark, False, [], [])
    assert (seen["boxes"], seen["all"], seen["closed"]) == (
        4,
        15,
        4,
    )  # input, stem, the run, prob; opened 2 + 4 × 3 + 1
    assert seen["blocks"] == ["− b0 … b3 ×4"]
    assert seen["found"] == "1 found"
    assert seen["hits"] == 1
    assert seen["head"] == "b2_two"
    assert "2×8×9×7" in str(seen["panel"])
    assert "584" in str(seen["panel"])  # 8 × 8 × 3 × 3 + 8 parameters
    assert "72,576" in str(seen["panel"])  # 2 × 8 × 9 × 7 values of 8 × 9 terms each
    assert str(seen["source"][0]).startswith('layer { name: "b2_two"')  # type: ignore[index]
    assert (seen["below"], seen["above"]) == ("b2", "b2_two")
    assert seen["panned"] == 50
    assert 0.5 < float(str(seen["zoomed"])) < 0.7
    assert "15" not in str(seen["blocks"])
    assert "layers" in str(seen["totals"])
    assert int(str(seen["bars"])) > 10


def test_blocks_side_by_side_have_room_when_they_open(tmp_path: Path) -> None:
    """Four blocks read the same blob; each is two boxes wide inside, where it was one when closed."""
    convolution = 'type: "Convolution" convolution_param { num_output: 4 kernel_size: 3 pad: 1 }'
    text = 'layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 2 dim: 3 dim: 9 dim: 7 } } }\n'
    for i in range(4):
        for name, bottom in (("stem", "data"), ("left", f"h{i}/stem"), ("right", f"h{i}/stem")):
            text += f'layer {{ name: "h{i}/{name}" bottom: "{bottom}" top: "h{i}/{name}" {convolution} }}\n'
        bottoms = f'bottom: "h{i}/left" bottom: "h{i}/right"'
        text += f'layer {{ name: "h{i}/both" type: "Concat" {bottoms} top: "h{i}/both" }}\n'
    ends = " ".join(f'bottom: "h{i}/both"' for i in range(4))
    (tmp_path / "heads.prototxt").write_text(text + f'layer {{ name: "all" type: "Concat" {ends} top: "all" }}\n')
    seen = visit(page_of(tmp_path / "heads.prototxt", tmp_path), MEASURE, 1280)
    assert (seen["folded"], seen["opened"]) == ([], [])
    assert (seen["boxes"], seen["all"]) == (3, 18)


def test_hostile_names_are_text(tmp_path: Path) -> None:
    name = HOSTILE.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    text = residual(tmp_path).read_text(encoding="utf-8").replace('"b1_one', f'"{name}').replace('"rest"', f'"{name}"')
    (tmp_path / "bad.prototxt").write_text(text, encoding="utf-8")
    page = page_of(tmp_path / "bad.prototxt", tmp_path)
    assert "<img src=x" not in page.read_text(encoding="utf-8")
    seen = visit(
        page, MEASURE + "seen.title = text('#title'); net.reveal(layers.findIndex((l) => l.n.includes('img')));", 1280
    )
    assert (seen["opened"], seen["images"]) == ([], 0)
    assert "<img src=x onerror=alert(1)>" in str(seen["title"])
    assert main(["view", str(tmp_path / "bad.prototxt"), "-o", str(tmp_path / "bad.svg"), "-q"]) == 0
    drawn = ElementTree.parse(tmp_path / "bad.svg").getroot()
    assert not drawn.findall(".//{http://www.w3.org/2000/svg}img")
    assert "\u202e" not in (tmp_path / "bad.svg").read_text(encoding="utf-8")


def test_the_svg_has_every_box_once_and_none_overlap(tmp_path: Path) -> None:
    assert main(["view", str(residual(tmp_path)), "-o", str(tmp_path / "net.svg"), "-q"]) == 0
    drawn = ElementTree.parse(tmp_path / "net.svg").getroot()
    boxes = [r.attrib for r in drawn.iter("{http://www.w3.org/2000/svg}rect") if r.get("class") == "box"]
    assert len(boxes) == 15
    places = [[float(box[name]) for name in ("x", "y", "width", "height")] for box in boxes]
    for i, (x, y, width, height) in enumerate(places):
        for left, top, wide, tall in places[i + 1 :]:
            assert x + width <= left or left + wide <= x or y + height <= top or top + tall <= y


def test_weights_show_their_histogram_and_a_first_convolutions_filters(tmp_path: Path) -> None:
    net = residual(tmp_path, blocks=1)
    made = resnet_convert.convert(net, to="caffe", output=tmp_path / "caffe", random_weights=3, verify=False)
    weights = next(file for file in made.files if file.suffix == ".caffemodel")
    page = page_of(net, tmp_path, str(weights))
    record = json.loads(
        page.read_text(encoding="utf-8").partition('type="application/json">')[2].partition("</script>")[0]
    )
    blob = next(layer for layer in record["picture"]["layers"] if layer["n"] == "stem")["w"][0]
    with resnet_convert.open_weights(weights) as stored:
        values = next(layer for layer in stored.layers if layer.name == "stem").blobs[0].array()
    assert sum(blob["bins"]) == values.size
    assert blob["mean"] == pytest.approx(float(np.mean(values, dtype=np.float64)))
    assert blob["shape"] == "8×3×3×3"
    seen = visit(
        page,
        "net.reveal(1); seen.histograms = all('#panel .histogram').length; seen.canvases = all('canvas').length",
        1280,
    )
    assert (seen["histograms"], seen["canvases"]) == (2, 1)


def test_what_is_not_finite_is_counted_and_stands_in_no_histogram(tmp_path: Path) -> None:
    net = residual(tmp_path, blocks=1)
    made = resnet_convert.convert(net, to="caffe", output=tmp_path / "caffe", random_weights=3, verify=False)
    weights = next(file for file in made.files if file.suffix == ".caffemodel")
    with resnet_convert.open_weights(weights) as stored:
        first = np.asarray(next(layer for layer in stored.layers if layer.name == "stem").blobs[0].array())
    data, old = weights.read_bytes(), first.astype("<f4").tobytes()
    assert data.count(old) == 1
    values = np.arange(first.size, dtype="<f4")
    values[3], values[7] = np.nan, -np.inf
    (tmp_path / "odd.caffemodel").write_bytes(data.replace(old, values.tobytes()))
    page = page_of(net, tmp_path, str(tmp_path / "odd.caffemodel")).read_text(encoding="utf-8")
    record = json.loads(page.partition('type="application/json">')[2].partition("</script>")[0])
    blob = next(layer for layer in record["picture"]["layers"] if layer["n"] == "stem")["w"][0]
    assert (blob["odd"], sum(blob["bins"]), blob["min"], blob["max"]) == (2, 214, 0, 215)  # 8 × 3 × 3 × 3 values
    assert blob["mean"] == pytest.approx((215 * 216 / 2 - 10) / 214)
    assert "filters" not in blob
    assert len(record["warnings"]) == 1


def test_python_draws_as_the_command_line_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = resnet_convert.view(residual(tmp_path))
    assert done.file == Path("rest.html")
    assert [layer.name for layer in done.net.layers][:3] == ["data", "stem", "stem_relu"]
    with pytest.raises(RequestError, match="ends in none of"):
        resnet_convert.view(residual(tmp_path), output="net.png")
    with pytest.raises(RequestError, match="is read"):
        resnet_convert.view("rest.html", output="rest.html")


def of_corpus(name: str, folder: Path) -> Path:
    with tarfile.open(CORPUS) as corpus:
        (folder / "net.prototxt").write_bytes(corpus.extractfile(f"prototxt/{name}").read())  # type: ignore[union-attr]
    return folder / "net.prototxt"


def milliseconds(page: str, folder: Path) -> float:
    """From the start of a page until its scripts have run, by the browser's own clock."""
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if browser is None:
        pytest.skip("no Chromium is installed")
    told = "<script>document.documentElement.dataset.ready = performance.now()</script></body>"
    (folder / "timed.html").write_text(page.replace("</body>", told), encoding="utf-8")
    command = [browser, "--headless=new", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder / 'timed'}"]
    command += ["--dump-dom", "--window-size=1280,960", (folder / "timed.html").as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    found = re.search(r'data-ready="([\d.]+)"', done.stdout)
    assert found
    return float(found[1])


@pytest.mark.slow
@pytest.mark.skipif(not CORPUS.exists(), reason="needs ../shared/corpus")
@pytest.mark.parametrize("name", [*OF_CORPUS, *OF_MODELS])
def test_nothing_overlaps_in_twelve_nets(name: str, tmp_path: Path) -> None:
    page = page_of(of_corpus(name, tmp_path) if "/" in name else MODELS / name / "net.prototxt", tmp_path)
    for width in (360, 1280):
        for dark in (False, True):
            seen = visit(page, MEASURE, width, dark=dark)
            assert (seen["dark"], seen["folded"], seen.get("opened", [])) == (dark, [], []), (width, dark)


@pytest.mark.slow
@pytest.mark.skipif(not CORPUS.exists(), reason="needs ../shared/corpus")
@pytest.mark.parametrize("name", [OF_CORPUS[1], OF_CORPUS[3]])
def test_a_deep_net_is_there_in_a_moment(name: str, tmp_path: Path) -> None:
    """ResNet-152 and an SSD: about four times an empty page's time on a quiet machine."""
    page = page_of(of_corpus(name, tmp_path), tmp_path).read_text(encoding="utf-8")
    empty = milliseconds("<!doctype html><title>empty</title><body></body>", tmp_path)
    ready = milliseconds(page, tmp_path)
    assert ready < 2000
    assert ready < 25 * empty
