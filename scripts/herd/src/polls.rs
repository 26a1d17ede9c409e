//! What the pollers send: targets, method, header fields and body, checked.

use std::path::Path;

use bytes::Bytes;
use http::{
    Method, Uri,
    header::{ACCEPT_ENCODING, HOST, HeaderName, HeaderValue, IF_NONE_MATCH},
};

use crate::{
    bounded_file,
    config::RunOptions,
    fields::parse_field,
    invalid::PlanError,
    mix::Mix,
    plan::codings,
    secrets::Environment,
    target::{Outgoing, Target, Targets},
};

/// Maximum of targets.
const MOST_TARGETS: usize = 1000;
/// Highest weight of a target.
const HIGHEST_WEIGHT: u32 = 1_000_000;
/// Maximum length of a body, which each request in flight has for itself.
const LONGEST_BODY: u64 = 16 * 1024 * 1024;

/// What the pollers send.
#[derive(Debug, Clone)]
pub struct Polls {
    /// The first target, at which clients that wait begin.
    pub first: Target,
    /// All targets with their weights.
    pub mix: Mix<Target>,
    /// Method.
    pub method: Method,
    /// Header fields, in order. They replace those that a request has anyway.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// Body; empty for none.
    pub body: Bytes,
    /// The name of the query parameter whose value is another one for each request.
    pub cache_buster: Option<String>,
    /// Whether they send If-None-Match.
    pub conditional: bool,
}

impl Polls {
    /// Checks what is sent to the targets. `environment` has the variables of header fields.
    ///
    /// # Errors
    /// [`PlanError`] for the first invalid option. Secrets are not part of it.
    pub(super) fn new(
        options: &RunOptions,
        targets: &mut Targets<'_>,
        environment: Environment<'_>,
    ) -> Result<Self, PlanError> {
        let mix = mix(options.url.as_deref(), &options.polls.target, targets)?;
        let first = mix.targets().first().ok_or(PlanError::NoTarget)?.clone();
        let options = &options.polls;
        let body = match (&options.body, &options.body_file) {
            (Some(text), _) => Bytes::from(text.clone()),
            (None, Some(path)) => read_body(path)?,
            (None, None) => Bytes::new(),
        };
        let has_body = options.body.is_some() || options.body_file.is_some();
        let method = match &options.method {
            Some(text) => parse_method(text, has_body)?,
            None if has_body => Method::POST,
            None => Method::GET,
        };
        let fields = options.header.iter();
        let mut headers = fields
            .map(|field| parse_field(field, environment))
            .collect::<Result<Vec<_>, _>>()?;
        let has = |name: &HeaderName| headers.iter().any(|(other, _)| other == name);
        if let Some(codings) = codings(options.accept_encoding.as_deref())? {
            if has(&ACCEPT_ENCODING) {
                return Err(PlanError::FieldTwice {
                    field: "accept-encoding",
                    option: "--accept-encoding",
                });
            }
            headers.push((ACCEPT_ENCODING, codings));
        }
        if headers.iter().filter(|(name, _)| *name == HOST).count() > 1 {
            return Err(PlanError::Hosts);
        }
        let own_condition = headers.iter().any(|(name, _)| *name == IF_NONE_MATCH);
        let reads = method == Method::GET || method == Method::HEAD;
        let cache_buster = options.cache_buster.clone();
        if !cache_buster.as_deref().is_none_or(is_parameter) {
            return Err(PlanError::CacheBuster);
        }
        Ok(Self {
            first,
            mix,
            method,
            headers,
            body,
            conditional: reads
                && !own_condition
                && !options.unconditional
                && cache_buster.is_none(),
            cache_buster,
        })
    }

    /// Returns the target of this index in the mix.
    pub(super) fn target(&self, index: usize) -> &Target {
        self.mix.targets().get(index).unwrap_or(&self.first)
    }

    /// Returns a request for the target, without If-None-Match.
    pub(super) fn request(&self, target: &Target) -> Outgoing {
        let url = self.busted(&target.url);
        let mut request = target
            .origin
            .request(self.method.clone(), url, self.body.clone());
        let fields = request.headers_mut();
        for (name, _) in &self.headers {
            fields.remove(name);
        }
        for (name, value) in &self.headers {
            fields.append(name, value.clone());
        }
        request
    }

    /// Returns the URL with another value of the cache buster. It is random, not of the seed: a run that is repeated must
    /// not find its URLs in a cache.
    fn busted(&self, url: &Uri) -> Uri {
        let Some(name) = &self.cache_buster else {
            return url.clone();
        };
        let sign = if url.query().is_some() { '&' } else { '?' };
        let busted = format!("{url}{sign}{name}={:016x}", fastrand::u64(..));
        // A parameter of letters and digits after a valid URL without a fragment is a valid URL.
        busted.parse().unwrap_or_else(|_| url.clone())
    }
}

/// Returns the targets: those of `--target`, or the URL.
///
/// # Errors
/// [`PlanError`] if there is no target, or for the first invalid one.
fn mix(
    url: Option<&str>,
    weighted: &[String],
    targets: &mut Targets<'_>,
) -> Result<Mix<Target>, PlanError> {
    if weighted.len() > MOST_TARGETS {
        return Err(PlanError::TooManyTargets(MOST_TARGETS));
    }
    let alone = url.map(|url| Ok((1, url)));
    let weighted = weighted.iter().map(|text| parse_weighted(text));
    let all = alone.into_iter().chain(weighted).map(|weighted| {
        let (weight, url) = weighted?;
        Ok((weight, targets.target(url)?))
    });
    let all = all.collect::<Result<Vec<_>, PlanError>>()?;
    Mix::new(all).ok_or(PlanError::NoTarget)
}

fn parse_weighted(text: &str) -> Result<(u32, &str), PlanError> {
    let split = text.trim().split_once(char::is_whitespace);
    let (weight, url) = split.unwrap_or(("", text));
    weight
        .parse()
        .ok()
        .filter(|weight| (1..=HIGHEST_WEIGHT).contains(weight))
        .map(|weight| (weight, url.trim_start()))
        .ok_or_else(|| PlanError::Weight(weight.escape_debug().to_string()))
}

fn parse_method(text: &str, has_body: bool) -> Result<Method, PlanError> {
    let invalid = |reason| PlanError::Method {
        method: text.escape_debug().to_string(),
        reason,
    };
    let known = [
        "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE",
    ];
    if !known.contains(&text) && known.contains(&text.to_ascii_uppercase().as_str()) {
        return Err(invalid("methods are in capital letters (RFC 9110 §9.1)"));
    }
    match Method::from_bytes(text.as_bytes()) {
        Err(_) => Err(invalid("not a method (RFC 9110 §9.1)")),
        Ok(Method::CONNECT) => Err(invalid("a tunnel is not a response")),
        Ok(Method::TRACE) if has_body => Err(invalid("has no body (RFC 9110 §9.3.8)")),
        Ok(method) => Ok(method),
    }
}

fn read_body(path: &Path) -> Result<Bytes, PlanError> {
    let body = bounded_file::read(path, LONGEST_BODY).map_err(|source| PlanError::Body {
        path: path.display().to_string(),
        source,
    })?;
    Ok(body.into())
}

fn is_parameter(name: &str) -> bool {
    let is_plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
    !name.is_empty() && name.bytes().all(is_plain)
}
