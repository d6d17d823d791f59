"""Prefect's UI as a user operates it, in a headless Chromium."""

import re
import shutil
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from playwright.sync_api import Browser, Locator, Page, expect, sync_playwright
from playwright.sync_api import TimeoutError as NotInTime

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
PICTURES = Path(__file__).parents[2] / "artifacts" / "prefect"
"""Where the pictures of the tests are kept; git ignores it."""
ROOT = Path(__file__).parents[2]
LOGO = ROOT / "docs" / "images" / "logo.svg"
PATIENCE_MS = 45_000
CLICK_MS = 10_000
_RENAME = """(names) => {
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT)
  while (walker.nextNode()) {
    let text = walker.currentNode.nodeValue
    for (const [from, to] of names) {
      if (text.trim() === from) text = to
      text = text.replaceAll(from + ':/', to + ':/').replaceAll(from + '/', to + '/')
    }
    if (text !== walker.currentNode.nodeValue) walker.currentNode.nodeValue = text
  }
}"""
"""Replaces names in the text of a page."""
_QUIET = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
)


@contextmanager
def chromium() -> Iterator[Browser]:
    """Start Debian's Chromium."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=_QUIET.split())
        try:
            yield browser
        finally:
            browser.close()


@dataclass(frozen=True, slots=True)
class Screen:
    """One tab of the browser on Prefect's UI."""

    page: Page
    ui: str

    @classmethod
    def open(cls, browser: Browser, ui: str, *, width: int = 1280, height: int = 900) -> "Screen":
        """Open a tab."""
        page = browser.new_page(viewport={"width": width, "height": height})
        page.set_default_timeout(PATIENCE_MS)
        # What the internet has for people is here, too.
        page.route("**/docs/images/logo.svg", lambda route: route.fulfill(path=LOGO))
        return cls(page, ui)

    def picture(self, name: str) -> Path:
        """Keep a picture of what is seen."""
        PICTURES.mkdir(parents=True, exist_ok=True)
        path = PICTURES / f"{name}.png"
        # Animations end first: a screenshot of half a dialog is useless.
        self.page.wait_for_timeout(600)
        # Where the tests run is of no interest to readers.
        self.page.evaluate(
            _RENAME, [[str(ROOT), "/srv/batches"], [socket.gethostname(), "worker-1"]]
        )
        self.page.screenshot(path=path)
        return path

    def text(self) -> str:
        """Return all text that is seen."""
        return self.page.inner_text("body")

    # The form.

    def open_form(self, deployment: str) -> None:
        """Go to the form that starts a run of a deployment."""
        self.page.goto(f"{self.ui}/deployments/deployment/{deployment}/run")
        # The fields are there before the defaults, which would overwrite what is typed meanwhile.
        expect(self.field("Output").locator("textarea").first).to_be_visible(timeout=PATIENCE_MS)
        self.page.wait_for_load_state("networkidle")

    def field(self, title: str) -> Locator:
        """Return the innermost part of the form that has a title."""
        label = re.compile(rf"^\s*{re.escape(title)}( \(Optional\))?\s*$")
        return (
            self.page.locator(".schema-form-property")
            .filter(has=self.page.locator(".schema-form-property__label").filter(has_text=label))
            .last
        )

    def fill(self, title: str, value: str) -> None:
        """Write into a field."""
        self.field(title).locator("textarea, input").first.fill(value)

    def choose_credentials(self, name: str) -> None:
        """Choose a block of Together credentials by its name."""
        field = self.field("credentials")
        field.get_by_role("button", name="TogetherCredentials").click()
        self._choose(field, name)

    def _choose(self, field: Locator, option: str) -> None:
        # By keyboard: a click opens the list and, within the same motion, closes it.
        field.locator(".p-select-button__control").press("ArrowDown")
        self.page.locator(".p-select-option").filter(has_text=option).click()

    def submit(self) -> None:
        """Send the form."""
        self.page.get_by_role("button", name="Submit", exact=True).click()

    def start(self) -> None:
        """Send the form until a run is made."""
        self.until_taken(self.submit, "create_flow_run")

    def until_taken(self, press: Callable[[], None], call: str) -> None:
        """Press until the server has accepted the call; a busy one refuses it."""

        def taken() -> bool:
            try:
                with self.page.expect_request(f"**/{call}", timeout=CLICK_MS) as sent:
                    press()
            except NotInTime:
                return False
            answer = sent.value.response()
            return answer is not None and answer.ok

        assert any(taken() for _ in range(5)), f"{call} was not taken"

    # A run.

    def open_run(self, run: str) -> None:
        """Go to a flow run's page."""
        self.page.goto(f"{self.ui}/runs/flow-run/{run}")

    def await_badge(self, state: str) -> None:
        """Wait until the run's page shows a state."""
        self.page.locator(".state-badge").filter(has_text=state).first.wait_for()

    def answer(self, decision: str) -> Path:
        """Answer the question of a run that waits for approval; return a picture of it."""
        self._ask_for_the_question()
        picture = self.picture("approval")

        def press() -> None:
            self._ask_for_the_question()
            self._choose(self.field("Decision"), decision)
            self._dialog_button("Submit").click()

        self.until_taken(press, "resume")
        return picture

    def _ask_for_the_question(self) -> None:
        if not self._dialog_button("Submit").is_visible():
            self.page.get_by_role("button", name="Resume", exact=True).click()
        self.page.get_by_text("Approve this spend?").wait_for()

    def _dialog_button(self, name: str) -> Locator:
        return self.page.locator(".p-modal").get_by_role("button", name=name, exact=True)

    def cancel(self) -> None:
        """Cancel the run that is shown."""

        def press() -> None:
            if not self._dialog_button("Confirm").is_visible():
                self.page.get_by_role("button", name="Cancel", exact=True).first.click()
            self._dialog_button("Confirm").click()

        self.until_taken(press, "set_state")

    def open_artifact(self, artifact: str) -> None:
        """Go to the page of an artifact."""
        self.page.goto(f"{self.ui}/artifacts/artifact/{artifact}")

    def tab(self, name: str) -> None:
        """Go to a tab of the run's page."""
        self.page.get_by_role("tab", name=name, exact=True).or_(
            self.page.locator(".p-tab-navigation__tab, .p-tab").filter(has_text=name)
        ).first.click()
