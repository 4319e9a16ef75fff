from __future__ import annotations

from vgg_bench.report.html import as_html, element


def test_texts_and_attributes_are_escaped_and_stand_in_order() -> None:
    root = as_html(element("p", "a < b ", element("b", "&"), " c", " d", class_='"x"', aria_label="e", data_value=0.5))
    assert root == (
        '<!doctype html>\n<p class="&quot;x&quot;" aria-label="e" data-value="0.5">a &lt; b <b>&amp;</b> c d</p>\n'
    )


def test_what_a_script_holds_stands_as_it_is() -> None:
    assert "<script>a < b && c</script>" in as_html(element("script", "a < b && c"))


def test_control_characters_are_shown_as_escapes() -> None:
    assert r"a\x1b[2J\u202eb" + "\nc" in as_html(element("pre", "a\x1b[2J\u202eb\nc"))


def test_svg_numbers_are_short_and_have_no_exponent() -> None:
    assert 'y="123.457"' in as_html(element("line", y=123.456789))
