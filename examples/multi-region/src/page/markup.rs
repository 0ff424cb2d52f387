//! Builds HTML and SVG out of elements, so that no text ever becomes markup.

use std::fmt::{self, Display, Write as _};

/// An element, written as both HTML and XML understand it.
#[derive(Clone, Debug)]
pub(crate) struct Element {
    name: &'static str,
    attributes: Vec<(&'static str, String)>,
    children: Vec<Node>,
}

#[derive(Clone, Debug)]
enum Node {
    Element(Element),
    Text(String),
}

/// The elements of HTML that we use and that have no end tag.
const VOID: [&str; 2] = ["br", "meta"];

pub(crate) fn element(name: &'static str) -> Element {
    Element {
        name,
        attributes: Vec::new(),
        children: Vec::new(),
    }
}

impl Element {
    pub(crate) fn with(mut self, name: &'static str, value: impl Display) -> Self {
        self.attributes.push((name, value.to_string()));
        self
    }

    /// With a number of pixels or seconds, to a tenth.
    pub(crate) fn at(self, name: &'static str, value: f64) -> Self {
        self.with(name, tenths(value))
    }

    pub(crate) fn text(mut self, text: impl Display) -> Self {
        self.children.push(Node::Text(text.to_string()));
        self
    }

    pub(crate) fn child(mut self, child: Self) -> Self {
        self.children.push(Node::Element(child));
        self
    }

    pub(crate) fn children(mut self, children: impl IntoIterator<Item = Self>) -> Self {
        self.children
            .extend(children.into_iter().map(Node::Element));
        self
    }
}

impl Display for Element {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "<{}", self.name)?;
        for (name, value) in &self.attributes {
            write!(formatter, " {name}=\"{}\"", Escaped(value))?;
        }
        if VOID.contains(&self.name) {
            return formatter.write_str("/>");
        }
        formatter.write_char('>')?;

        // Between elements a line break changes nothing; next to text it would be a space.
        let only_elements = self
            .children
            .iter()
            .all(|it| matches!(it, Node::Element(_)));
        let between = if only_elements && !self.children.is_empty() {
            "\n"
        } else {
            ""
        };
        formatter.write_str(between)?;
        for child in &self.children {
            match child {
                Node::Element(element) => write!(formatter, "{element}{between}")?,
                Node::Text(text) => write!(formatter, "{}", Escaped(text))?,
            }
        }
        write!(formatter, "</{}>", self.name)
    }
}

/// A number without needless digits; what is not a number counts as 0.
fn tenths(value: f64) -> f64 {
    let rounded = (value * 10.0).round() / 10.0;
    // Adding zero turns a negative zero into a plain one.
    if rounded.is_finite() {
        rounded + 0.0
    } else {
        0.0
    }
}

/// Text as an element or an attribute may contain it. Characters that XML forbids are replaced.
struct Escaped<'a>(&'a str);

impl Display for Escaped<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for character in self.0.chars() {
            match character {
                '&' => formatter.write_str("&amp;")?,
                '<' => formatter.write_str("&lt;")?,
                '>' => formatter.write_str("&gt;")?,
                '"' => formatter.write_str("&quot;")?,
                '\'' => formatter.write_str("&#39;")?,
                '\n' | '\t' => formatter.write_char(character)?,
                '\u{fffe}' | '\u{ffff}' => formatter.write_char('\u{fffd}')?,
                _ if character.is_control() => formatter.write_char('\u{fffd}')?,
                _ => formatter.write_char(character)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_never_becomes_markup() {
        let hostile = "\"'><script>alert(1)</script>&amp;\u{1b}";
        let element = element("p").with("title", hostile).text(hostile);

        let escaped = "&quot;&#39;&gt;&lt;script&gt;alert(1)&lt;/script&gt;&amp;amp;\u{fffd}";
        let expected = format!("<p title=\"{escaped}\">{escaped}</p>");
        assert_eq!(element.to_string(), expected);
    }

    #[test]
    fn elements_are_closed_and_stand_in_lines_of_their_own() {
        let row = element("tr").child(element("td").text("a").child(element("br")).text("b"));

        assert_eq!(row.to_string(), "<tr>\n<td>a<br/>b</td>\n</tr>");
        assert_eq!(element("td").to_string(), "<td></td>");
    }

    #[test]
    fn numbers_are_short_and_always_numbers() {
        let circle = |radius| element("circle").at("r", radius).to_string();

        assert_eq!(circle(12.0), "<circle r=\"12\"></circle>");
        assert_eq!(circle(1.0 / 3.0), "<circle r=\"0.3\"></circle>");
        assert_eq!(circle(-0.01), "<circle r=\"0\"></circle>");
        assert_eq!(circle(f64::NAN), "<circle r=\"0\"></circle>");
    }
}
