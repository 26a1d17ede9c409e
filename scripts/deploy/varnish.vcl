# Varnish in front of the publisher, as a shared cache for 15 s (the publisher's max-age). It stores one variant per
# Accept-Encoding, passes entity-tags on unchanged, and answers 304 by itself. When the publisher is gone it goes on with
# the last answers for 15 minutes. It needs no parameter: `varnishd -a :8090 -f /etc/varnish/varnish.vcl`.
#
# Start the publisher with `--trusted-proxies 127.0.0.1` (the address that Varnish connects from).
vcl 4.1;

import std;

backend publisher {
    .host = "127.0.0.1";
    .port = "8080";
    # How long the publisher may send nothing: a wait takes up to 29.2 s. See vcl_backend_fetch for what does not wait.
    .first_byte_timeout = 40s;
    .between_bytes_timeout = 40s;
    .connect_timeout = 1s;
    # Not /health/ready: there is no other publisher, and one that is not ready still answers from memory.
    # It counts as gone after four failures in a row: 2 s after its death, or 8 s after it began to hang. One answer brings
    # it back.
    .probe = { .url = "/health/live"; .interval = 500ms; .timeout = 2s; .window = 4; .threshold = 1; }
}

# Without a publisher, a pipe ends without an answer.
sub pipe_if_there {
    if (!std.healthy(req.backend_hint)) {
        return (synth(503, "the publisher does not answer"));
    }
    return (pipe);
}

sub vcl_recv {
    # The public paths, all others are 404: metrics, health and admin routes are for the private network, where
    # --admin-address serves them. The path is matched as it was sent, so that an encoded one never matches.
    if (req.url !~ "^(/api/cathedral)?/v1/(synthetic-boolean/(active-challenges(/changes)?|challenge-broadcast|current-challenge|active-cnf)|leaderboard/recent|events|agents/submit)/?(\?|$)"
        && req.url !~ "^(/api/cathedral)?/\.well-known/cathedral-jwks\.json/?(\?|$)"
        && req.url !~ "^/openapi\.json(\?|$)") {
        return (synth(404, "not found"));
    }
    # Varnish appends the client's address to the field that the client sent. This proxy is the outermost one, so
    # it replaces that, and it removes the field that the publisher does not read. Behind another proxy of yours,
    # leave X-Forwarded-For as it is, and add that proxy to --trusted-proxies.
    set req.http.X-Forwarded-For = client.ip;
    unset req.http.Forwarded;
    # Varnish knows gzip only: behind this it would replace the field. So the field has another name until the publisher is
    # asked, and it is part of the cache's key. Clients of many kinds share an answer: only the codings that the publisher
    # knows, in one order; weights only say whether a coding is refused (0), and * names all. After a restart Varnish has
    # replaced the field.
    if (req.restarts == 0) {
        std.collect(req.http.Accept-Encoding);
        unset req.http.X-Codings;
        unset req.http.X-Gzip;
        if (req.http.Accept-Encoding ~ "(?i)^(?!(.*,)?\s*br\s*;\s*q=0(\.0*)?\s*(,|$))(.*,)?\s*(br|\*)\s*(,|$|;\s*q=(1|0\.\d*[1-9]))") {
            set req.http.X-Codings = "br, ";
        }
        if (req.http.Accept-Encoding ~ "(?i)^(?!(.*,)?\s*zstd\s*;\s*q=0(\.0*)?\s*(,|$))(.*,)?\s*(zstd|\*)\s*(,|$|;\s*q=(1|0\.\d*[1-9]))") {
            set req.http.X-Codings = req.http.X-Codings + "zstd, ";
        }
        if (req.http.Accept-Encoding ~ "(?i)^(?!(.*,)?\s*(x-)?gzip\s*;\s*q=0(\.0*)?\s*(,|$))(.*,)?\s*((x-)?gzip|\*)\s*(,|$|;\s*q=(1|0\.\d*[1-9]))") {
            set req.http.X-Gzip = "gzip";
            set req.http.X-Codings = req.http.X-Codings + "gzip";
        }
        if (!req.http.X-Codings
            && req.http.Accept-Encoding ~ "(?i)^(?!.*(br|zstd|gzip))(.*,)?\s*(identity|\*)\s*;\s*q=0(\.0*)?\s*(,|$)") {
            # Whoever refuses everything gets 406.
            set req.http.X-Codings = "*;q=0";
        }
    }
    # For vcl_deliver. A list of entity-tags may come in several lines.
    std.collect(req.http.If-None-Match);
    # A stale answer is sent at once while the next one is fetched, if it is stale for 10 s at most. If the publisher is
    # gone, or has just failed to give the next one (see vcl_synth), it is sent as long as it is stored.
    if (req.restarts == 0 && std.healthy(req.backend_hint)) {
        set req.grace = 10s;
    } else {
        set req.grace = 1d;
    }
    # The same path has the same answer with and without the prefix. The board ignores its query, so cache
    # busters (?_=…) share one object.
    set req.url = regsub(req.url, "^/api/cathedral", "");
    set req.url = regsub(req.url, "^([^?]*[^?/])/(\?|$)", "\1\2");
    set req.url = regsub(req.url, "/challenge-broadcast(\?|$)", "/active-challenges\1");
    set req.url = regsub(req.url, "^([^?]*/active-challenges)\?.*$", "\1");
    # A wait is for a state and a slot of time, nothing else: all clients that wait for the same share one request.
    if (req.url ~ "/changes\?") {
        set req.url = regsuball(req.url, "(?<=[?&])(?!(after|slot)=)[^&]*(&|$)", "");
        set req.url = regsub(req.url, "[?&]$", "");
    }
    # The files of challenges are large, and the publisher sends parts of them. By `pass`, Varnish would read a whole file
    # for a slow client.
    if ((req.method == "GET" || req.method == "HEAD") && req.url ~ "/active-cnf(\?|$)"
        && !req.http.Content-Length && !req.http.Transfer-Encoding) {
        call pipe_if_there;
    }
    # All other answers are sent whole, as the publisher does.
    unset req.http.Range;
    # Events are passed on as they come. By `pass`, Varnish would keep the first ones until the next come: it reads a body
    # without a length on, behind what came with the head. See vcl_pipe for what a client sends behind its request.
    if (req.method == "GET" && req.url ~ "^/v1/events(\?|$)"
        && !req.http.Content-Length && !req.http.Transfer-Encoding) {
        call pipe_if_there;
    }
    if (req.method != "GET" && req.method != "HEAD" || req.url ~ "^/v1/(events|synthetic-boolean/active-cnf)(\?|$)") {
        return (pass);
    }
    return (hash);
}

# Without the host: the publisher does not tell hosts apart.
sub vcl_hash {
    hash_data(req.url);
    hash_data(req.http.X-Codings);
    return (lookup);
}

# A stream of events, or a file. From here on Varnish passes on whatever the client sends. The publisher answers nothing behind a
# request with `Connection: close`, so no further request gets past the check of the path.
sub vcl_pipe {
    set bereq.http.Connection = "close";
    set bereq.http.Host = "publisher";
    set bereq.http.X-Forwarded-For = client.ip;
    unset bereq.http.Upgrade;
    unset bereq.http.Accept-Encoding;
    if (bereq.http.X-Codings && bereq.url ~ "/active-cnf(\?|$)") {
        set bereq.http.Accept-Encoding = bereq.http.X-Codings;
    }
    unset bereq.http.X-Codings;
    unset bereq.http.X-Gzip;
    return (pipe);
}

sub vcl_backend_fetch {
    # What one client sends must not decide what all of them get: an invalid Host would be answered with 400.
    set bereq.http.Host = "publisher";
    unset bereq.http.Accept-Encoding;
    if (bereq.http.X-Codings) {
        set bereq.http.Accept-Encoding = bereq.http.X-Codings;
    }
    unset bereq.http.X-Codings;
    unset bereq.http.X-Gzip;
    # A publisher that hangs does not hold clients for as long as a wait takes.
    if (bereq.url !~ "/changes(\?|$)" && bereq.url !~ "[?&]slot=") {
        set bereq.first_byte_timeout = 10s;
    }
}

sub vcl_backend_response {
    # To Varnish no answer has a content coding. Otherwise it would decompress gzip for a client whose Accept-Encoding it
    # has replaced, and weaken the entity-tag.
    if (beresp.http.Content-Encoding) {
        set beresp.http.X-Content-Encoding = beresp.http.Content-Encoding;
        unset beresp.http.Content-Encoding;
    }
    # A refusal of one client or a failure does not replace an answer that can still be served. Varnish asks with the
    # entity-tag of the stale answer if it has one: then vcl_synth has that answer sent.
    if (bereq.is_bgfetch && beresp.status >= 400
        || beresp.status >= 500 && !bereq.uncacheable && bereq.http.If-None-Match) {
        return (abandon);
    }
    # Errors are not stored. For a second, requests for them do not wait for each other either.
    if (beresp.status >= 400) {
        set beresp.uncacheable = true;
        set beresp.ttl = 1s;
        return (deliver);
    }
    if (beresp.http.Vary ~ "(?i)^\s*accept-encoding\s*$") {
        set beresp.http.X-Vary = beresp.http.Vary;
        unset beresp.http.Vary;
    }
    # A stale answer to a wait would come at once, and the client
    # would ask again at once.
    if (bereq.url ~ "/changes(\?|$)" || bereq.url ~ "[?&]slot=") {
        set beresp.grace = 0s;
        # An answer that is not for all: Varnish would send all further waits of this URL to the publisher for two minutes.
        # Those that wait for it already each ask by themselves, as a client's refusal must not end their waits; but if the
        # publisher stops (Retry-After: 1), they all get its answer.
        if (beresp.http.Cache-Control ~ "no-store") {
            set beresp.ttl = 0s;
            set beresp.keep = 0s;
            set beresp.uncacheable = (beresp.http.Retry-After != "1");
            return (deliver);
        }
    } else {
        # How long an answer may be stale if the publisher is gone.
        set beresp.grace = 15m;
    }
}

sub vcl_deliver {
    # The publisher has not answered, and nothing is cached for these codings: the last answer in
    # gzip if the client accepts it, or without a coding. A wait is not, as its client asks again.
    if (resp.http.X-Gone) {
        unset resp.http.X-Gone;
        if (req.http.X-Codings && req.http.X-Codings != "*;q=0" && req.restarts < 3
            && req.url !~ "/changes(\?|$)|[?&]slot=" && (req.method == "GET" || req.method == "HEAD")) {
            if (req.http.X-Gzip && req.http.X-Codings != "gzip") {
                set req.http.X-Codings = "gzip";
            } else {
                unset req.http.X-Codings;
            }
            return (restart);
        }
    }
    # Behind this Varnish answers 304 if the field is the entity-tag; it knows neither lists nor *. A tag has no quote
    # inside, so a list that has its text has the tag.
    if (resp.status == 200
        && (req.http.If-None-Match == "*" || std.strstr(req.http.If-None-Match, resp.http.ETag))) {
        set req.http.If-None-Match = resp.http.ETag;
    }
    if (resp.http.X-Content-Encoding) {
        set resp.http.Content-Encoding = resp.http.X-Content-Encoding;
        unset resp.http.X-Content-Encoding;
    }
    if (resp.http.X-Vary) {
        set resp.http.Vary = resp.http.X-Vary;
        unset resp.http.X-Vary;
    }
}

# The errors of Varnish itself. After a failure of the publisher the request begins again, once, and gets the stale answer.
sub vcl_synth {
    if (resp.status == 503 && req.restarts == 0) {
        return (restart);
    }
    set resp.http.Content-Type = "application/json";
    set resp.http.Cache-Control = "no-store";
    if (resp.status == 503) {
        set resp.http.Retry-After = "1";
    }
    set resp.body = {"{"detail":""} + resp.reason + """"}""";
    return (deliver);
}

sub vcl_backend_error {
    if (bereq.is_bgfetch || !bereq.uncacheable && bereq.http.If-None-Match) {
        return (abandon);
    }
    set beresp.http.Content-Type = "application/json";
    set beresp.http.Cache-Control = "no-store";
    set beresp.http.Retry-After = "1";
    # For vcl_deliver.
    set beresp.http.X-Gone = "1";
    set beresp.body = {"{"detail":""} + beresp.reason + """"}""";
    return (deliver);
}
