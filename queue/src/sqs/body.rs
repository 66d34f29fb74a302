//! Messages as text.

use aws_smithy_types::base64;
use bytes::Bytes;

pub(super) fn encode(message: &[u8]) -> String {
    base64::encode(message)
}

/// Bytes of the text of a message.
pub(super) fn encoded_bytes(message: &[u8]) -> usize {
    message.len().div_ceil(3) * 4
}

/// The message, or the text itself where it is no base64.
pub(super) fn decode(body: String) -> Bytes {
    match base64::decode(&body) {
        Ok(message) => Bytes::from(message),
        Err(_) => Bytes::from(body),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_text_that_is_no_base64_is_its_own_message() {
        for text in ["{\"event\":1}", "plain text", "=", "日本"] {
            assert_eq!(decode(text.to_string()), text);
        }
    }

    proptest! {
        #[test]
        fn messages_read_back_and_their_text_is_as_long_as_foretold(message: Vec<u8>) {
            let text = encode(&message);
            prop_assert_eq!(text.len(), encoded_bytes(&message));
            prop_assert_eq!(decode(text), message);
        }
    }
}
