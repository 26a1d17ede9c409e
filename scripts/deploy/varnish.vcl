# Varnish in front of the publisher, as a shared cache for 15 s (the publisher's max-age). It stores one variant per
# Accept-Encoding, passes entity-tags on unchanged, and answers 304 by itself.
#
# Start varnishd with `-p http_gzip_support=off`. Otherwise it replaces every Accept-Encoding with "gzip", which
# loses br and zstd.
vcl 4.1;

backend publisher {
    .host = "127.0.0.1";
    .port = "8080";
    .probe = { .url = "/health/ready"; .interval = 5s; .timeout = 6s; }
}

sub vcl_recv {
    if (req.method != "GET" && req.method != "HEAD") {
        return (pass);
    }
    if (req.url ~ "^(/api/cathedral)?/(metrics|health|v1/admin/)") {
        return (pass);
    }
    # The board ignores its query, so cache busters (?_=…) share one object.
    if (req.url ~ "/active-challenges\?") {
        set req.url = regsub(req.url, "\?.*$", "");
    }
}

sub vcl_backend_response {
    # Serves a stale answer while the next one is fetched.
    set beresp.grace = 10s;
}
