//! Errors of `attrx` and their exit status.

/// An error: a one-line message and an exit status.
#[derive(Debug)]
pub struct Error {
    message: String,
    status: u8,
}

impl Error {
    /// Bad usage or bad input: exit status 2.
    pub fn input(message: impl Into<String>) -> Self {
        Self::new(message, 2)
    }

    /// Anything else: exit status 1.
    pub fn other(message: impl Into<String>) -> Self {
        Self::new(message, 1)
    }

    fn new(message: impl Into<String>, status: u8) -> Self {
        // One line, even if quoted text has several.
        let message: String = message.into();
        let words: Vec<&str> = message.split_whitespace().collect();
        let message = crate::printable(&words.join(" ")).into_owned();
        Self {
            message: shortened(message),
            status,
        }
    }

    /// The exit status.
    pub fn status(&self) -> u8 {
        self.status
    }
}

/// The longest message, in characters: a file may name anything in it.
const LONGEST: usize = 1000;

/// Leaves out the middle of a long message: its end says what would be right.
fn shortened(message: String) -> String {
    let characters: Vec<char> = message.chars().collect();
    if characters.len() <= LONGEST {
        return message;
    }
    let half = LONGEST / 2;
    let start: String = characters[..half].iter().collect();
    let end: String = characters[characters.len() - half..].iter().collect();
    format!("{start} [...] {end}")
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl From<attr_core::Error> for Error {
    fn from(error: attr_core::Error) -> Self {
        use attr_core::Error as Core;
        match error {
            Core::Device(_) | Core::Internal(_) => Self::other(error.to_string()),
            Core::NoGradient { input } => Self::input(format!(
                "the model has no gradient with respect to its input number {input}: it is not \
                 floating point, or no differentiable path leads from it to the output; explain \
                 tokens at their embedding, using --layer and its name from `attrx layers`"
            )),
            // The library's advice names functions; here are flags.
            Core::Rule { layer, reason, .. } if reason.contains("model.logits()") => {
                Self::input(format!(
                    "layer {layer:?} is a final softmax, for which LRP has no rule; explain the \
                     scores before it, with --logits"
                ))
            }
            Core::Rule { layer, reason, .. } if reason.contains("`auto`") => Self::input(format!(
                "layer {layer:?} is the softmax of attention, for which this composite has no \
                 rule; use --set composite=auto, attnlrp or cp_lrp"
            )),
            Core::MixesRows { .. } => Self::input(format!("{error}: --memory 0")),
            _ => Self::input(error.to_string()),
        }
    }
}

impl From<attr_onnx::Error> for Error {
    fn from(error: attr_onnx::Error) -> Self {
        match error {
            attr_onnx::Error::Core(error) => error.into(),
            error => Self::input(error.to_string()),
        }
    }
}

impl From<attr_data::Error> for Error {
    fn from(error: attr_data::Error) -> Self {
        Self::input(error.to_string())
    }
}

impl From<attr_index::Error> for Error {
    fn from(error: attr_index::Error) -> Self {
        use attr_index::Error as Index;
        match error {
            Index::Core(error) => error.into(),
            Index::File { .. } | Index::Busy { .. } | Index::Damaged { .. } => {
                Self::other(error.to_string())
            }
            _ => Self::input(error.to_string()),
        }
    }
}

impl From<attr_store::Error> for Error {
    fn from(error: attr_store::Error) -> Self {
        use attr_store::Error as Store;
        match error {
            Store::File { .. } | Store::Busy { .. } | Store::Damaged { .. } => {
                Self::other(error.to_string())
            }
            _ => Self::input(error.to_string()),
        }
    }
}

impl From<attr_viz::Error> for Error {
    fn from(error: attr_viz::Error) -> Self {
        Self::other(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_one_printable_line_of_bounded_length() {
        let error = Error::input("layer \u{1b}[31m\nred\u{202e}\u{7f}");
        assert_eq!(error.to_string(), r"layer \u{1b}[31m red\u{202e}\u{7f}");
        let long = Error::input("é".repeat(1 << 20) + " give another");
        assert!(long.to_string().chars().count() < LONGEST + 10);
        assert!(long.to_string().ends_with("give another"));
    }
}
