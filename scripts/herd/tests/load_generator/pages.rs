//! Pages of the feed of which some bytes become very many: a page has at most 32 MiB, and each thread decodes one at a time.

use std::{
    fs,
    io::Write as _,
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use herd::run::Run;

use super::strange::{Then, serve};

#[test]
fn pages_that_become_very_long_when_decoded_are_too_large_and_take_little_memory() {
    let spaces = vec![b' '; 16 << 20];
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&spaces).unwrap();
    let mut wide = zstd::Encoder::new(Vec::new(), 1).unwrap();
    wide.window_log(27).unwrap();
    wide.write_all(&spaces).unwrap();
    // Both may have several parts: 256 MB.
    let many = |part: Vec<u8>| part.repeat(16);
    for (coding, body, reason) in [
        ("gzip", many(gzip.finish().unwrap()), "too large"),
        (
            "zstd",
            many(zstd::encode_all(&*spaces, 1).unwrap()),
            "too large",
        ),
        ("zstd", wide.finish().unwrap(), "invalid page"),
    ] {
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Encoding: {coding}\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        let url = serve(vec![([head.into_bytes(), body].concat(), Then::Stay)]);
        let mut command = Command::new(env!("CARGO_BIN_EXE_herd"));
        command.args([
            &url,
            "--clients=1",
            "--interval-ms=60000",
            "--duration-secs=2",
        ]);
        command.args([
            "--validators=6",
            "--feed-interval-ms=1500",
            "--feed-url",
            &url,
        ]);
        command.args(["--on-failure=give-up", "--timeout-ms=60000", "--json"]);
        let mut process = command.stdout(Stdio::piped()).spawn().unwrap();
        let status = format!("/proc/{}/status", process.id());
        let mut most_kb = 0;
        while process.try_wait().unwrap().is_none() {
            let text = fs::read_to_string(&status).unwrap_or_default();
            let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
            let kb = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse().ok());
            most_kb = most_kb.max(kb.unwrap_or(0));
            thread::sleep(Duration::from_millis(20));
        }
        let output = process.wait_with_output().unwrap();
        let run: Run = serde_json::from_slice(&output.stdout).unwrap();
        let failures = &run.validators.unwrap().failures;
        let only: Vec<String> = failures
            .iter()
            .map(|(reason, _)| reason.to_string())
            .collect();
        assert_eq!(only, [reason], "{coding}: {failures:?}");
        // Each thread has one page in a buffer that has doubled, and its decoder.
        let threads = u64::from(run.generator.threads);
        let most = 32 * 1024 + threads * 2 * 40 * 1024;
        assert!(
            (1..most).contains(&most_kb),
            "{coding}: {most_kb} kB, {threads} threads"
        );
    }
}
