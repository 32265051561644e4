"""A web page, taken apart."""

from html.parser import HTMLParser


class Page(HTMLParser):
    """Cells, references and tags of a page; fails on tags that do not match."""

    EMPTY = ("meta", "link", "img", "br", "hr", "input")

    def __init__(self, text):
        super().__init__()
        self.open, self.references, self.cells, self.ids, self.tags = [], [], [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.ids += [value for name, value in attrs if name == "id"]
        self.references += [
            value for name, value in attrs if name in ("src", "href", "srcset", "poster", "action", "data")
        ]
        if tag not in self.EMPTY:
            self.open.append(tag)
        if tag == "td":
            self.cells.append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] == "td":
            self.cells[-1] += data
