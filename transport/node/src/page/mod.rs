//! The page at `GET /`: one file with its style and script in it, which asks the node it came from
//! and nobody else.

use std::io;

use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS,
};

const TEMPLATE: &str = include_str!("index.html");

/// The headers and the text of the page.
pub type Page = ([(HeaderName, String); 5], String);

/// Makes the page. Its style and script carry a random number that its policy names, so that nothing
/// that was smuggled into the page would run.
///
/// # Errors
///
/// The system has no randomness to give.
pub fn page() -> io::Result<Page> {
    let mut random = [0; 16];
    getrandom::fill(&mut random).map_err(io::Error::from)?;
    let nonce = format!("{:032x}", u128::from_ne_bytes(random));
    let policy = format!(
        "default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; \
         connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    );
    let headers = [
        (CONTENT_TYPE, "text/html; charset=utf-8".to_owned()),
        (CONTENT_SECURITY_POLICY, policy),
        (X_CONTENT_TYPE_OPTIONS, "nosniff".to_owned()),
        (REFERRER_POLICY, "no-referrer".to_owned()),
        (CACHE_CONTROL, "no-store".to_owned()),
    ];
    Ok((headers, TEMPLATE.replace("{nonce}", &nonce)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_policy_names_the_one_number_that_style_and_script_carry() {
        let ((one, text), (_, other)) = (page().expect("random"), page().expect("random"));
        let policy = &one[1].1;
        let nonce = policy.split("script-src 'nonce-").nth(1).and_then(|rest| rest.get(..32));
        let nonce = nonce.expect("a nonce");
        assert_eq!(text.matches(&format!("nonce=\"{nonce}\"")).count(), 2);
        assert!(!text.contains("{nonce}") && !other.contains(nonce));
        assert!(policy.starts_with("default-src 'none'; ") && !policy.contains("unsafe"));
    }

    #[test]
    fn nothing_comes_from_elsewhere_and_no_text_is_taken_for_markup() {
        for forbidden in ["src=", "@import", "url(", "innerHTML", "eval(", " style=\"", "onclick"] {
            assert!(!TEMPLATE.contains(forbidden), "{forbidden}");
        }
        let addresses: Vec<_> = TEMPLATE.match_indices("://").collect();
        assert_eq!(addresses.len(), 1, "the name of SVG, which nobody fetches");
    }
}
