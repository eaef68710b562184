"""The page docs/explorer in a real browser: it shows what the reference computes, and anybody can use it.

Needs Playwright for Python and Debian's chromium; the test of accessibility needs axe-core too (see .ci/run).
"""

import re
import shutil

import numpy as np
import pytest

from npresnext import reference
from npresnext.testing import mistakes

from tests.support.paths import ROOT

sync_api = pytest.importorskip("playwright.sync_api", reason="Playwright for Python is not installed")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
AXE = ROOT / ".venv-explorer" / "node_modules" / "axe-core" / "axe.min.js"
PAGE = (ROOT / "docs" / "explorer" / "index.html").as_uri()
FOLDER = PAGE.removesuffix("index.html")
STATES = 50

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium is installed")


@pytest.fixture(scope="module")
def browser():
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser):
    """Open the page at an address; the test fails if there is an error, or a request for a file of others."""
    contexts, faults = [], []

    def request(request):
        if not request.url.startswith((FOLDER, "data:,")):
            faults.append(f"a request for {request.url}")

    def open_page(address="", **options):
        context = browser.new_context(**{"viewport": {"width": 1280, "height": 800}, **options})
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(10_000)
        page.on("request", request)
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("console", lambda message: faults.append(message.text) if message.type == "error" else None)
        page.goto(f"{PAGE}#{address}")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert faults == []


def go(page, address):
    page.evaluate(
        """address => new Promise(done => {
            addEventListener("hashchange", () => done(), {once: true});  // after the page's own listener
            location.hash = address || "ci=4";
        })""",
        address,
    )


NUMBERS = """letter => [...document.querySelectorAll(`.cell[data-letter="${letter}"]`)]
    .sort((one, other) => one.dataset.index - other.dataset.index).map(cell => cell.textContent)"""


def shown(page, letter, shape):
    """The numbers on the screen, as an array with a batch axis if it is no weight."""
    texts = page.evaluate(NUMBERS, letter)
    return np.array([float(each.replace("−", "-").replace("?", "nan")) for each in texts]).reshape(shape)


def changed(page, letter, how):
    """The flat indices of the numbers of a tensor that moved, stood still, or differ from the right ones, in order."""
    find = "selector => [...document.querySelectorAll(selector)].map(cell => Number(cell.dataset.index))"
    return sorted(page.evaluate(find, f'.cell.{how}[data-letter="{letter}"]'))


MARKED = """([letter, how]) => [...document.querySelectorAll(`.over .${how} tspan`)].map(mark => {
    const at = `[x="${mark.getAttribute("x")}"][y="${mark.getAttribute("y")}"]`;
    const cell = mark.closest(".over").previousSibling.querySelector(`.cell text${at}`).parentNode;
    if (cell.textContent !== mark.textContent) throw Error(`${mark.textContent} covers ${cell.textContent}`);
    return cell.dataset;
}).filter(data => data.letter === letter).map(data => Number(data.index))"""


def marked(page, letter, how):
    """The flat indices of the numbers of a tensor that lie under a mark, in order."""
    return sorted(page.evaluate(MARKED, [letter, how]))


def cell(letter, index):
    return f'.cell[data-letter="{letter}"][data-index="{index}"]'


def draw_state(rng):
    """A random state of the page that has at least one window: its address, shapes and window arguments."""
    while True:
        groups = int(rng.choice([1, 2, 2, 3, 4]))
        ins, outs = (groups * int(rng.integers(1, 6 // groups + 1)) for _ in "xy")
        size, kernel = rng.integers(3, 6, 2), rng.integers(1, 4, 2)
        stride, dilation = rng.integers(1, 3, 2), rng.integers(1, 3, 2)
        top, bottom, left, right = padding = [int(side) for side in rng.integers(-1, 3, 4)]
        window = {
            "stride": tuple(map(int, stride)),
            "padding": ((top, bottom), (left, right)),
            "dilation": tuple(map(int, dilation)),
        }
        x_shape = 1, ins, *map(int, size)
        weight_shape = outs, ins // groups, *map(int, kernel)
        y_shape = reference.output_shape(x_shape, weight_shape, **window)
        if 0 in y_shape:
            continue
        address = f"ci={ins}&co={outs}&g={groups}&p={','.join(map(str, padding))}&seed={rng.integers(1, 9999)}"
        for name, pair in {"n": size, "k": kernel, "s": stride, "d": dilation}.items():
            address += f"&{name}={pair[0]}x{pair[1]}"
        return address, x_shape, weight_shape, y_shape, {**window, "groups": groups}


def test_fifty_states_show_what_the_reference_computes_and_the_identity_holds(open_page):
    page = open_page()
    rng = np.random.default_rng(5)
    for _ in range(STATES):
        address, x_shape, weight_shape, y_shape, window = draw_state(rng)
        go(page, address)
        x, weight, y = (shown(page, letter, shape) for letter, shape in zip("xwy", (x_shape, weight_shape, y_shape)))
        assert len(set(x.ravel())) > 2 and np.array_equal(y, reference.conv2d(x, weight, **window)), address
        identity = re.findall(r"[−\d]+", page.inner_text("#identity").replace("⟨", " "))
        go(page, f"mode=dx&{address}")
        g = shown(page, "g", y_shape)
        dx = reference.conv2d_input_grad(g, x_shape, weight, **window)
        assert np.array_equal(shown(page, "dx", x_shape), dx), address
        go(page, f"mode=dw&{address}")
        dw = reference.conv2d_weight_grad(g, x, weight_shape, **window)
        assert np.array_equal(shown(page, "dw", weight_shape), dw), address
        expected = f"{(g * y).sum():.0f}".replace("-", "−")
        assert identity == [expected] * 3, address


def test_pointing_at_a_number_marks_its_products_and_writes_their_sum(open_page):
    page = open_page("s=2x2")
    x_shape, weight_shape = (1, 4, 5, 5), (4, 2, 3, 3)
    window = {"stride": (2, 2), "padding": ((1, 1), (1, 1)), "groups": 2}
    products = list(reference.products(x_shape, weight_shape, **window))
    shapes = {"y": (1, 4, 3, 3), "g": (1, 4, 3, 3), "w": weight_shape, "dw": weight_shape, "x": x_shape, "dx": x_shape}
    for mode, letters, result in (("forward", "y w x", 0), ("dx", "g w dx", 2), ("dw", "g dw x", 1)):
        go(page, f"s=2x2&mode={mode}")
        letters = letters.split()
        for slot, index in enumerate((30, 11, 57)):
            page.hover(cell(letters[slot], index))
            found = [
                [int(np.ravel_multi_index(at, shapes[letter])) for at, letter in zip(product, letters)]
                for product in products
            ]
            found = [product for product in found if product[slot] == index]
            assert found
            for other in {0, 1, 2} - {slot}:
                assert marked(page, letters[other], "hot") == sorted({product[other] for product in found})
            assert marked(page, letters[slot], "here") == [index]
            if slot == result:
                text = page.inner_text("#sum").replace("−", "-")
                total = int(re.search(r"= (-?\d+)", text)[1])
                factors = re.findall(r"\(?(-?\d+)\)?·\(?(-?\d+)\)?", text)
                assert len(factors) == len(found)
                assert sum(int(one) * int(other) for one, other in factors) == total
                assert total == shown(page, letters[slot], -1)[index]


def test_an_edited_number_flashes_what_moved_and_greys_the_rest(open_page):
    page = open_page()
    before = shown(page, "y", (4, 5, 5))
    page.click(cell("x", 12))
    page.keyboard.type("-7")
    page.keyboard.press("Enter")
    assert "e=x.0.2.2_-7" in page.url and page.text_content(cell("x", 12)) == "−7"
    after = shown(page, "y", (4, 5, 5))
    assert changed(page, "y", "moved") == np.flatnonzero(before != after).tolist() != []
    assert changed(page, "y", "still") == np.flatnonzero(before == after).tolist()
    assert (before == after)[2:].all()  # group 1
    assert f"{(before != after).sum()} of 100 numbers of y moved, in y0 and 1." in page.inner_text("#status")
    page.keyboard.press("Escape")
    assert changed(page, "y", "still") == []
    page.click(cell("w", 18))  # the weight w[1, 0, 0, 0]
    page.keyboard.type("half")
    page.keyboard.press("Enter")
    assert "not a whole number" in page.inner_text("#status") and "w." not in page.url
    page.click("#restore")
    assert np.array_equal(shown(page, "y", (4, 5, 5)), before)


def moved_filters(page):
    return sorted({index // 18 for index in changed(page, "dw", "moved")})


def test_a_disturbed_group_moves_its_own_filters_and_through_a_1x1_all(open_page):
    page = open_page("mode=dw")
    page.click('[data-disturb="1"]')
    assert moved_filters(page) == [2, 3]
    page.check("#mix")
    page.click('[data-disturb="1"]')
    assert moved_filters(page) == [0, 1, 2, 3]
    go(page, "mix=1")
    z = shown(page, "z", (4, 25))
    assert len(np.unique(z)) > 20
    page.click('[data-disturb="0"]')
    assert {index // 25 for index in changed(page, "y", "moved")} == {0, 1}
    assert {index // 25 for index in changed(page, "z", "moved")} == {0, 1, 2, 3}


def test_the_slider_cuts_holes_into_the_weight_and_the_counters_follow(open_page):
    page = open_page("g=1")
    dense = shown(page, "w", (4, 4, 9))
    page.focus("#groups")
    page.keyboard.press("ArrowRight")
    assert np.array_equal(shown(page, "w", (4, 2, 9)), reference.block_diagonal_part(dense[..., None], 2)[..., 0])
    assert "72 of 144" in page.inner_text("#counters") and "2 of 4" in page.inner_text("#counters")
    page.keyboard.press("ArrowRight")
    assert "depthwise" in page.inner_text("#groups-value") and "g=4" in page.url
    assert page.locator(".hole").count() == 12


def test_im2col_lights_up_the_column_of_a_dragged_window(open_page):
    page = open_page("mode=im2col&p=0,0,0,0")
    rows = 18
    for index, position in ((12, 4), (24, 8), (0, 0)):  # the pixel under the mouse, the window around it
        page.hover(cell("x", 6))
        page.mouse.down()
        page.hover(cell("x", index))
        page.mouse.up()
        assert marked(page, "col", "column") == [row * 9 + position for row in range(rows)]
    counts = np.outer([1, 2, 3, 2, 1], [1, 2, 3, 2, 1])
    assert np.array_equal(shown(page, "cover", (5, 5)), counts)
    page.click('[data-block="1"]')
    x, columns = shown(page, "x", (2, 5, 5)), shown(page, "col", (2, 3, 3, 3, 3))
    assert np.array_equal(columns[:, 1, 2], x[:, 1:4, 2:5])
    weight, y = shown(page, "w", (2, 18)), shown(page, "y", (2, 9))
    assert np.array_equal(weight @ columns.reshape(18, 9), y)


@pytest.mark.parametrize(
    "name, mode, letter",
    [
        ("rotates the kernel", "forward", "y"),
        ("deals the input channels to the groups in turn", "forward", "y"),
        ("averages dx over the windows that read a pixel", "dx", "dx"),
        ("averages dw over the groups", "dw", "dw"),
    ],
)
def test_a_mistake_is_shown_beside_the_right_result(open_page, name, mode, letter):
    address = f"mode={mode}&ci=6&co=6&g=3"
    page = open_page(address)
    x_shape, weight_shape, y_shape = (1, 6, 5, 5), (6, 2, 3, 3), (1, 6, 5, 5)
    window = {"padding": ((1, 1), (1, 1)), "groups": 3}
    x, weight = (shown(page, "x", x_shape) if mode != "dx" else np.zeros(x_shape)), np.zeros(weight_shape)
    weight = weight if mode == "dw" else shown(page, "w", weight_shape)
    g = np.zeros(y_shape) if mode == "forward" else shown(page, "g", y_shape)
    wrong = mistakes.find(name).result(letter, mistakes.Call(x, weight, None, g, **window))
    page.click('[data-do="mistake"]')
    page.select_option("#mistake", name)
    assert np.abs(shown(page, "wrong", wrong.shape) - wrong).max() < 0.006  # two decimals are shown
    right = shown(page, letter, wrong.shape)
    assert changed(page, "wrong", "differs") == np.flatnonzero(wrong != right).tolist() != []
    assert "≠" in page.inner_text("#identity")
    assert mistakes.find(name).explanation in page.inner_text("#activity")


def test_a_mistake_that_does_not_show_here_leads_to_settings_where_it_does(open_page):
    page = open_page("do=mistake&mistake=exchanges+vertical+and+horizontal+stride")
    assert "a test with them finds nothing" in page.inner_text("#activity")
    page.click("#elsewhere")
    assert "s=1x2" in page.url and "Its shape is" in page.inner_text("#activity")


def test_which_mistake_is_it(open_page):
    page = open_page("mode=dx")
    page.click('[data-do="mistake"]')
    page.click("#puzzle")
    assert page.locator("[data-choice]").count() == 4 and "puzzle=" in page.url
    page.click("#hint")
    assert "?" in page.inner_text(".why")
    page.click('[data-choice="0"]')
    assert page.locator("[data-choice].right").count() == 1
    assert re.match(r"Right\.|No: it ", page.inner_text(".why"))


def test_twelve_predictions_are_covered_until_the_answer(open_page):
    page = open_page("do=predict")
    for task in range(1, 13):
        assert page.locator("h2").first.inner_text() == f"Predict {task} of 12"
        assert set(page.evaluate(NUMBERS, "y") or page.evaluate(NUMBERS, "dw")) == {"?"}
        assert set(re.findall(r"\d+", page.inner_text("#counters"))) == {"0"}  # of "x0 reaches"
        page.hover(".cell.editable")
        assert "Choose an answer" in page.inner_text("#sum") and page.locator(".hot").count() == 0
        page.click("[data-choice]")
        assert page.locator("[data-choice].right").count() == 1
        assert re.match(r"Right\.|No: ", page.inner_text(".why"))
        assert "?" not in page.inner_text("#stage")
        if task < 12:
            page.click(f'[data-task="{task + 1}"]')


def test_everything_can_be_reached_and_changed_with_the_keyboard(open_page):
    page = open_page()
    focused = "() => document.activeElement.closest('.cell')?.getAttribute('aria-label') || document.activeElement.id"
    stops = []
    for _ in range(40):
        page.keyboard.press("Tab")
        stops.append(page.evaluate(focused))
        if "restore" in stops:
            break
    labels = [stop.split(":")[0] for stop in stops]
    for stop in ("groups", "set-k", "x[0, 0, 0]", "w[0, 0, 0, 0]", "y[0, 0, 0]", "mix", "restore"):
        assert stop in labels
    assert sum("[" in label for label in labels) == 3  # one stop for each panel
    page.focus(cell("x", 0))
    walked = []
    for key in ("ArrowRight", "ArrowDown", "End", "ArrowLeft", "Home"):
        page.keyboard.press(key)
        walked.append(page.evaluate(focused).split(":")[0])
    assert walked == ["x[0, 0, 1]", "x[0, 1, 1]", "x[1, 1, 4]", "x[1, 1, 3]", "x[0, 1, 0]"]
    assert "x[0, 1, 0]" in page.inner_text("#announcement")
    page.keyboard.press("Tab")
    page.keyboard.press("Shift+Tab")
    assert page.evaluate(focused).startswith("x[0, 1, 0]")  # Tab comes back to where one was
    page.keyboard.press("Enter")
    page.keyboard.type("9")
    page.keyboard.press("Enter")
    assert page.evaluate(focused) == "x[0, 1, 0]: 9" and "e=x.0.1.0_9" in page.url
    page.keyboard.press("8")  # typing begins an edit as well
    page.keyboard.press("Escape")
    assert page.evaluate(focused) == "x[0, 1, 0]: 9"


def test_a_touch_shows_the_sum_and_a_second_one_edits(open_page):
    page = open_page(viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    page.tap(cell("x", 7))
    assert page.inner_text(".title").startswith("x[0, 1, 2]") and page.locator(".editor").count() == 0
    page.tap(cell("x", 7))
    assert page.locator(".editor").count() == 1


@pytest.mark.parametrize("address", ["", "mode=im2col", "do=mistake&mistake=rotates+the+kernel", "ci=8&co=8&g=2&mix=1"])
def test_a_phone_shows_it_without_scrolling_sideways(open_page, address):
    page = open_page(address, viewport={"width": 360, "height": 740})
    assert page.evaluate("document.documentElement.scrollWidth") <= 360


SMALL = "ci=2&co=2&n=3x3"
STATES_FOR_AXE = [
    SMALL,
    f"{SMALL}&mode=dx&mix=1",
    f"{SMALL}&mode=im2col",
    "do=predict&task=5",
    f"{SMALL}&do=mistake&mistake=ignores+the+stride",
    "n=1x1&p=0,0,0,0",
]


@pytest.mark.parametrize("scheme, addresses", [("light", STATES_FOR_AXE), ("dark", STATES_FOR_AXE[3:5])])
def test_axe_finds_nothing(open_page, scheme, addresses):
    if not AXE.exists():
        pytest.skip(f"axe-core is not installed: npm install --prefix {AXE.parents[2].name} axe-core")
    page = open_page(color_scheme=scheme)
    page.evaluate(AXE.read_text(encoding="utf-8"))
    for address in addresses:
        go(page, address)
        found = page.evaluate("async () => (await axe.run({preload: false})).violations")
        details = [(each["id"], [node["html"][:160] for node in each["nodes"][:3]]) for each in found]
        assert details == [], address


def test_wrong_addresses_are_corrected_with_a_note(open_page):
    page = open_page("g=3&ci=4")
    assert "3 groups cannot share 4 input and 4 output channels" in page.inner_text("#status")
    go(page, "n=1x1&p=0,0,0,0")
    assert "No window fits: it spans 3 × 3 pixels, and the padded image has 1 × 1" in page.inner_text("#stage")


def test_without_javascript_there_is_a_picture(open_page):
    page = open_page(java_script_enabled=False)
    assert page.locator("img.still").is_visible() and not page.locator("#modes").is_visible()


def test_who_wants_less_motion_sees_none(open_page):
    for motion, animation in (("no-preference", "flash"), ("reduce", "none")):
        page = open_page(reduced_motion=motion)
        page.click('[data-disturb="0"]')
        name = "document.querySelector('.cell.moved rect')"
        assert page.evaluate(f"getComputedStyle({name}).animationName") == animation


def test_it_loads_within_a_second_and_answers_within_a_frame(open_page):
    """The least of a few measurements: other programs may be using the processor."""
    loads = []
    while len(loads) < 8 and min(loads, default=1000) >= 1000:
        loads.append(open_page().evaluate("performance.getEntriesByType('navigation')[0].loadEventEnd"))
    assert min(loads) < 1000, loads
    page = open_page("ci=8&co=8&g=1&n=7x7&p=2,2,2,2")
    times = page.evaluate(FRAMES)
    assert min(times) < 1000 / 60, times


FRAMES = """async () => {  // the milliseconds from the event to the end of the frame that shows its effect
    const times = [];
    for (const cell of [...document.querySelectorAll('.cell[data-letter="y"]')].slice(200, 260))
        times.push(await new Promise(done => requestAnimationFrame(() => {
            const start = performance.now();
            cell.dispatchEvent(new PointerEvent("pointerover", {bubbles: true, pointerType: "mouse"}));
            const { port1, port2 } = new MessageChannel();
            port1.onmessage = () => done(performance.now() - start);
            port2.postMessage("");
        })));
    return times;
}"""


def test_pointing_at_a_number_draws_no_number_again(open_page):
    """A browser takes longer than a frame to draw a thousand numbers."""
    page = open_page()
    drawn = "[...document.querySelectorAll('svg:not(.over)')].map(each => each.outerHTML)"
    before = page.evaluate(drawn)
    page.hover(cell("y", 12))
    assert marked(page, "y", "here") == [12] and page.evaluate(drawn) == before
