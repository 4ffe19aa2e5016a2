"""The built book: complete in its folder, light, and right in a real browser with the network cut."""

import json
import os
import re
import shutil
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent
MAX_PAGE_BYTES = 1_500_000
MAX_BOOK_BYTES = 25_000_000
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
CHROMIUM = next(filter(None, map(shutil.which, BROWSERS)), None)

toc = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
CHAPTERS = re.findall(r"\b(?:root|file): (\S+)", (ROOT / "_toc.yml").read_text(encoding="utf-8"))
PAGES = [*CHAPTERS, "index", "search", "genindex"]


@pytest.fixture(scope="module")
def book(tmp_path_factory):
    """The folder of a clean build in which every warning is an error."""
    out = tmp_path_factory.mktemp("book")
    command = shutil.which("jupyter-book", path=Path(sys.executable).parent)
    options = ["-n", "-W", "--keep-going", "--path-output", out]
    build = [command, "build", ".", *options]
    done = subprocess.run(build, cwd=ROOT, capture_output=True, text=True, encoding="utf-8", errors="replace")
    log = re.sub(r"\x1b\[[\d;]*m", "", done.stdout + done.stderr).splitlines()
    problems = [line for line in log if re.search(r"\b(?:WARNING|ERROR|CRITICAL)\b", line)]
    assert not problems, "\n".join(problems)
    assert done.returncode == 0, "\n".join(log[-40:])
    return out / "_build" / "html"


def texts(book, pattern):
    """Yield each file below ``book`` whose name matches, with its text."""
    for path in sorted(book.rglob(pattern)):
        yield path, path.read_text(encoding="utf-8")


def test_every_page_is_known(book):
    built = {path.relative_to(book).with_suffix("").as_posix() for path in book.rglob("*.html")}
    assert built - {"_static/webpack-macros", "_static/sbt-webpack-macros"} == set(PAGES)


def test_pages_are_light(book):
    for path, text in texts(book, "*.html"):
        pictures = {(path.parent / src).resolve() for src in re.findall(r'<img\b[^>]*\bsrc="([^":]+)"', text)}
        size = path.stat().st_size + sum(picture.stat().st_size for picture in pictures)
        assert size <= MAX_PAGE_BYTES, f"{path.name} has {size / 1e6:.2f} MB with its pictures"


def test_book_is_light(book):
    size = sum(path.stat().st_size for path in book.rglob("*") if path.is_file())
    assert size <= MAX_BOOK_BYTES, f"the book has {size / 1e6:.1f} MB"


REMOTE_IN_HTML = re.compile(
    r"""<(?!a\b)[a-z]+\b[^>]*?\b(?:src|href|data|poster)\s*=\s*["']?(?:https?:)?//[^>]*>""", re.I
)
REMOTE_IN_CSS = re.compile(r"""url\(\s*["']?(?:https?:)?//[^)]*\)|@import\s+(?:url\()?["']?(?:https?:)?//[^;]*""")
REMOTE_IN_INLINE_SCRIPT = re.compile(r"""<script\b[^>]*>[^<]*?["'](?:https?:)?//[^"']+["']""")


def test_pages_name_no_other_host(book):
    for path, text in texts(book, "*.html"):
        for pattern in (REMOTE_IN_HTML, REMOTE_IN_CSS, REMOTE_IN_INLINE_SCRIPT):
            # A canonical link would be no request, but the book has no address of its own either.
            assert not pattern.findall(text), f"{path.name}: {pattern.findall(text)[0][:200]}"


def test_styles_name_no_other_host(book):
    for path, text in texts(book, "*.css"):
        assert not REMOTE_IN_CSS.findall(text), path.name


@pytest.fixture(scope="module")
def browser():
    """System Chromium, without a word to the network."""
    if CHROMIUM is None:
        how = "no Chromium found: install it (Debian, Ubuntu: apt install chromium) to run the browser tests"
        if os.environ.get("REQUIRE_BROWSER"):
            pytest.fail(how)
        pytest.skip(how)
    from playwright.sync_api import sync_playwright

    quiet = [
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
    ]
    root = ["--no-sandbox"] if getattr(os, "geteuid", lambda: 1)() == 0 else []
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=["--disable-gpu", *quiet, *root])
        yield chromium
        chromium.close()


class Visit:
    """A page opened from its folder, with what it asked for and complained about."""

    def __init__(self, browser, path, width=1280, theme="light", query=""):
        self.requests, self.complaints = [], []
        self.context = browser.new_context(
            viewport={"width": width, "height": 800}, color_scheme=theme, reduced_motion="reduce"
        )
        self.context.set_offline(True)
        self.context.route("**/*", self._route)
        self.page = self.context.new_page()
        self.page.on("console", lambda m: m.type == "error" and self.complaints.append(m.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.goto(path.as_uri() + query, wait_until="load")
        if path.stem == "index":  # it leads to the first page
            self.page.wait_for_url(f"**/{toc['root']}.html")
        self.page.evaluate("window.MathJax?.startup?.promise")

    def _route(self, route):
        if route.request.url.startswith(("file:", "data:", "blob:")):
            route.continue_()
        else:
            self.requests.append(route.request.url)
            route.abort()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.context.close()


# Texts whose colour stands out too little from the opaque background below them (WCAG AA).
FAINT = """() => {
  const parse = color => [...color.match(/[\\d.]+/g).map(Number), 1].slice(0, 4);
  const linear = v => v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4;
  const weights = [.2126, .7152, .0722];
  const luminance = color => weights.reduce((sum, w, i) => sum + w * linear(color[i] / 255), 0);
  const over = (color, opacity, behind) =>
    color.slice(0, 3).map((v, i) => behind[i] + color[3] * opacity * (v - behind[i]));
  const background = e => {
    for (; e; e = e.parentElement) {
      const color = parse(getComputedStyle(e).backgroundColor);
      if (color[3] > .99) return color;
    }
    return [255, 255, 255, 1];
  };
  const faint = new Set();
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const text = walker.currentNode.data.trim(), e = walker.currentNode.parentElement;
    if (!text || !e.checkVisibility({checkOpacity: true, checkVisibilityCSS: true})) continue;
    if (e.closest('script, style, noscript, mjx-assistive-mml, .headerlink, .visually-hidden')) continue;
    let opacity = 1;
    for (let a = e; a; a = a.parentElement) opacity *= getComputedStyle(a).opacity;
    const style = getComputedStyle(e), size = parseFloat(style.fontSize);
    const behind = background(e);
    const both = [luminance(over(parse(style.color), opacity, behind)), luminance(behind)];
    const [dark, light] = both.sort((a, b) => a - b);
    const large = size >= 24 || (size >= 18.6 && style.fontWeight >= 700);
    const ratio = (light + .05) / (dark + .05);
    if (ratio >= (large ? 3 : 4.5)) continue;
    faint.add(`${ratio.toFixed(2)} ${e.tagName} ${e.className}: ${text.slice(0, 40)}`);
  }
  return [...faint];
}"""


@pytest.mark.parametrize("name", PAGES)
def test_page_opens_without_a_network(book, browser, name):
    with Visit(browser, book / f"{name}.html") as visit:
        page = visit.page
        assert page.locator("main").count() == 1
        missing_alt = page.eval_on_selector_all(
            "img",
            "all => all.filter(e => !e.hasAttribute('alt') || (e.closest('article') && !e.alt.trim()))"
            ".map(e => e.outerHTML)",
        )
        assert not missing_alt, missing_alt
        unloaded = page.eval_on_selector_all("img", "all => all.filter(e => !e.naturalWidth).map(e => e.src)")
        assert not unloaded, unloaded
        levels = page.eval_on_selector_all(
            "main :is(h1,h2,h3,h4,h5,h6)", "all => all.filter(e => e.checkVisibility()).map(e => +e.tagName[1])"
        )
        assert levels[:1] == [1]
        assert levels.count(1) == 1
        assert all(b <= a + 1 for a, b in pairwise(levels)), levels
        raw = page.eval_on_selector_all(".math", "all => all.filter(e => !e.querySelector('mjx-container')).length")
        assert raw == 0, f"{raw} equations were not rendered"
        assert page.locator("mjx-merror, [data-mjx-error]").count() == 0
        assert visit.requests == []
        assert visit.complaints == []


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("name", CHAPTERS)
def test_page_is_readable_in_both_themes(book, browser, name, theme):
    with Visit(browser, book / f"{name}.html", theme=theme) as visit:
        assert visit.page.locator("html").get_attribute("data-theme") == theme
        faint = visit.page.evaluate(FAINT)
        assert not faint, "\n".join(faint)


@pytest.mark.parametrize("name", PAGES)
def test_page_fits_a_phone(book, browser, name):
    with Visit(browser, book / f"{name}.html", width=360) as visit:
        width = visit.page.evaluate("document.scrollingElement.scrollWidth")
        wide = visit.page.evaluate(
            "[...document.querySelectorAll('article *')].filter(e => e.getBoundingClientRect().right > 361)"
            ".slice(0, 5).map(e => e.outerHTML.slice(0, 120))"
        )
        assert width <= 360, wide


def test_search_finds_a_word_and_leads_to_its_page(book, browser):
    with Visit(browser, book / "search.html", query="?q=encoder") as visit:
        link = visit.page.locator("#search-results ul.search li a").first
        link.wait_for(timeout=10_000)
        link.click()
        visit.page.wait_for_load_state()
        assert Path(visit.page.url.split("?")[0]).parent.name == "book"
        assert "encoder" in visit.page.locator("article").inner_text().lower()
        assert visit.requests == []
        assert visit.complaints == []


def test_theme_can_be_switched(book, browser):
    with Visit(browser, book / f"{toc['root']}.html") as visit:
        seen = set()
        for _ in range(3):
            visit.page.locator("button.theme-switch-button:visible").first.click()
            seen.add(visit.page.locator("html").get_attribute("data-theme"))
        assert seen == {"light", "dark"}
        assert visit.complaints == []


def has(text, name):
    """Tell whether the notebook of a page holds a text."""
    path = ROOT / f"{name}.ipynb"
    return path.exists() and text in path.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", [name for name in CHAPTERS if has("mae-quiz", name)])
def test_quiz_works_by_keyboard(book, browser, name):
    with Visit(browser, book / f"{name}.html") as visit:
        page = visit.page
        questions = page.locator(".mae-quiz fieldset")
        assert questions.count() == 5
        page.locator(".mae-quiz input").first.focus()
        right = 0
        for i in range(5):
            options = questions.nth(i).locator(".option")
            page.keyboard.press("Space")
            for j in range(options.count()):
                assert options.nth(j).locator("input").is_checked()
                shown = [why for why in options.locator(".why").all() if why.is_visible()]
                assert [why.inner_text() for why in shown] == [options.nth(j).locator(".why").inner_text()]
                assert shown[0].inner_text().startswith(("Right.", "No."))
                if j < options.count() - 1:
                    page.keyboard.press("ArrowDown")
            right += shown[0].inner_text().startswith("Right.")
            assert page.locator(".mae-quiz .score").inner_text() == f"{i + 1} of 5 answered, {right} right"
            assert page.locator(".mae-quiz output").text_content().startswith(shown[0].inner_text())
            page.keyboard.press("Tab")
        assert visit.requests == []
        assert visit.complaints == []


@pytest.mark.parametrize("name", [name for name in CHAPTERS if has("mae-quiz", name)])
def test_quiz_explains_without_a_script(book, browser, name):
    context = browser.new_context(java_script_enabled=False, offline=True)
    page = context.new_page()
    page.goto((book / f"{name}.html").as_uri())
    for option in page.locator(".mae-quiz .option").all():
        option.locator("label").click()
        assert option.locator(".why").is_visible()
    context.close()


@pytest.mark.parametrize("name", [name for name in CHAPTERS if has('"exercise"', name)])
def test_hints_and_solutions_are_folded(book, browser, name):
    with Visit(browser, book / f"{name}.html") as visit:
        folds = visit.page.locator("main details:has(> summary)", has_text=re.compile("Hint|Solution"))
        folds = [
            fold for fold in folds.all() if fold.locator("summary").inner_text() in ("Hint 1", "Hint 2", "Solution")
        ]
        assert len(folds) >= 3 and len(folds) % 3 == 0
        for fold in folds:
            assert fold.get_attribute("open") is None
            fold.locator("summary").focus()
            visit.page.keyboard.press("Enter")
            assert fold.locator(":scope > :not(summary)").first.is_visible()


def test_flash_cards_work_by_keyboard(book, browser):
    with Visit(browser, book / "book/questions.html") as visit:
        page, deck = visit.page, visit.page.locator("#mae-deck")
        card, said = deck.locator("details:visible"), deck.locator("[role=status]")

        def press(name):
            deck.get_by_role("button", name=name, exact=True).focus()
            page.keyboard.press("Enter")

        def number():
            return int(card.locator("summary").inner_text().split(".")[0])

        assert (card.count(), number(), said.inner_text()) == (1, 1, "0 of 25 known")
        answer = card.locator("p").first
        assert not answer.is_visible()
        press("Turn the card")
        assert answer.is_visible() and len(answer.inner_text().split()) > 30
        press("Not yet")  # comes back after three others
        assert number() == 2 and page.evaluate("document.activeElement.tagName") == "SUMMARY"
        page.keyboard.press("Enter")
        assert answer.is_visible()
        for expected in (3, 4, 1):
            press("I knew it")
            assert number() == expected
        assert said.inner_text() == "3 of 25 known"
        page.reload()  # what was known stays known
        assert (number(), said.inner_text()) == (1, "3 of 25 known")
        deck.get_by_label("Topic").select_option("several senses")
        assert (number(), said.inner_text()) == (15, "0 of 2 known")
        press("I knew it")
        press("I knew it")
        assert (card.count(), said.inner_text()) == (0, "All 2 known.")
        press("Start over")
        deck.get_by_label("Topic").select_option("all")
        press("Show all")
        assert card.count() == 25
        press("One at a time")
        press("Shuffle")
        assert card.count() == 1
        assert visit.requests == []
        assert visit.complaints == []


def test_flash_cards_are_a_list_without_a_script(book, browser):
    context = browser.new_context(java_script_enabled=False, offline=True)
    page = context.new_page()
    page.goto((book / "book/questions.html").as_uri())
    cards = page.locator("#mae-deck details").all()
    assert len(cards) == 25
    for card in cards:
        card.locator("summary").click()
        assert card.locator("p").first.is_visible()
    context.close()


@pytest.mark.parametrize("name", [name for name in CHAPTERS if has("mae-explorer", name)])
def test_explorers_follow_the_keyboard(book, browser, name):
    """Each control is moved by one option; what is shown is what the page has stored for that choice."""
    with Visit(browser, book / f"{name}.html") as visit:
        page = visit.page
        for explorer in page.locator(".mae-explorer").all():
            data = json.loads(explorer.locator("script[type='application/json']").text_content())
            controls = explorer.locator("[data-setting]").all()
            at = [
                int(c.is_checked()) if c.get_attribute("type") == "checkbox" else int(c.input_value()) for c in controls
            ]
            for i, control in enumerate(controls):
                control.focus()
                if control.get_attribute("type") == "checkbox":
                    page.keyboard.press("Space")
                    at[i] = 1 - at[i]
                else:
                    forward = at[i] < len(data["options"][i]) - 1
                    page.keyboard.press(
                        "ArrowDown" if forward == (control.evaluate("c => c.tagName") == "SELECT") else "ArrowUp"
                    )
                    at[i] += 1 if forward else -1
                frame = 0
                for options, k in zip(data["options"], at, strict=True):
                    frame = frame * len(options) + k
                said = data["parts"][-1]
                text = said["head"] + said["middle"].split("\n")[1 + said["of"][frame]] + said["tail"]
                assert explorer.locator(".says").inner_text() == text
        assert visit.requests == []
        assert visit.complaints == []


BROKEN_PAGE = """<!doctype html><html data-theme="light"><body style="background: #fff"><article>
<p style="color: #ccc">faint</p><p style="color: #000; opacity: .3">see-through</p><p style="color: #000">plain</p>
<div style="width: 900px">wide</div><img src="https://example.org/a.png"><script>console.error("no")</script>
</article></body></html>"""


def test_a_broken_page_is_noticed(browser, tmp_path):
    path = tmp_path / "broken.html"
    path.write_text(BROKEN_PAGE, encoding="utf-8")
    with Visit(browser, path, width=360) as visit:
        assert visit.requests == ["https://example.org/a.png"]
        assert "no" in visit.complaints
        assert [line.split(": ")[1] for line in visit.page.evaluate(FAINT)] == ["faint", "see-through"]
        assert visit.page.evaluate("document.scrollingElement.scrollWidth") > 360


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        (REMOTE_IN_HTML, '<script async src="https://example.org/a.js"></script>'),
        (REMOTE_IN_HTML, '<link rel="stylesheet" href="//example.org/a.css">'),
        (REMOTE_IN_HTML, '<iframe src="http://example.org"></iframe>'),
        (REMOTE_IN_CSS, "@font-face { src: url('https://example.org/a.woff2') }"),
        (REMOTE_IN_CSS, '@import "https://example.org/a.css";'),
        (REMOTE_IN_INLINE_SCRIPT, '<script>const url = "https://example.org/lib.js"</script>'),
    ],
)
def test_a_remote_address_is_noticed(pattern, text):
    assert pattern.search(text)
    assert not pattern.search('<a href="https://example.org">a link to follow</a>')
