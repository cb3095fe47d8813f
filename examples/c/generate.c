/* Generates text with the engine layer: two requests at once, one polled, one by callbacks. */
#include <ridgepoint.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void check(rp_status status, const char *what) {
    if (status != RP_OK) {
        fprintf(stderr, "%s: %s\n", what, rp_error_message());
        exit(1);
    }
}

/* What the callback collects. It runs on a thread of the engine until the last event, which
   rp_engine_drain waits for. */
struct collected {
    char text[4096];
    size_t bytes;
    uint32_t reason;
};

static void collect(const rp_event *event, void *user_data) {
    struct collected *to = user_data;
    if (event->kind == RP_EVENT_FAILED) {
        fprintf(stderr, "the second request failed: %s\n", event->text);
        return;
    }
    if (to->bytes + event->text_bytes < sizeof to->text) {
        memcpy(to->text + to->bytes, event->text, event->text_bytes);
        to->bytes += event->text_bytes;
    }
    if (event->kind == RP_EVENT_FINISHED) to->reason = event->reason;
}

int main(int argc, char **argv) {
    if (argc != 2) {
        fprintf(stderr, "usage: %s MODEL_DIRECTORY\n", argv[0]);
        return 2;
    }
    rp_engine_options options = {.size = sizeof options, .device = "cpu", .context = 256};
    rp_engine *engine;
    check(rp_engine_create(argv[1], &options, &engine), "rp_engine_create");

    /* The second request runs by itself and hands its events to `collect`. */
    rp_sampling sampling = {.size = sizeof sampling, .temperature = 0.8f, .top_p = 0.9f, .seed = 7};
    struct collected second = {.bytes = 0};
    rp_request_options by_callback = {
        .size = sizeof by_callback,
        .text = "The dog",
        .max_tokens = 16,
        .sampling = &sampling,
        .callback = collect,
        .user_data = &second,
    };
    check(rp_engine_submit(engine, &by_callback, NULL), "rp_engine_submit");

    /* The first is polled. Its text comes as it is made. */
    rp_request_options polled = {
        .size = sizeof polled,
        .text = "Once upon a time",
        .max_tokens = 24,
    };
    rp_request *request;
    check(rp_engine_submit(engine, &polled, &request), "rp_engine_submit");
    rp_event event = {.size = sizeof event};
    do {
        rp_status status = rp_request_poll(request, 60000, &event);
        check(status, "rp_request_poll");
        if (event.kind == RP_EVENT_FAILED) {
            fprintf(stderr, "the first request failed: %s\n", event.text);
            return 1;
        }
        fputs(event.text, stdout);
    } while (event.kind == RP_EVENT_TOKEN);
    printf("\n[%zu prompt tokens, %zu output tokens]\n", event.prompt_tokens, event.output_tokens);
    check(rp_request_destroy(request), "rp_request_destroy");

    check(rp_engine_drain(engine), "rp_engine_drain");
    printf("%.*s\n[reason %u]\n", (int)second.bytes, second.text, second.reason);

    rp_stats stats = {.size = sizeof stats};
    check(rp_engine_stats(engine, &stats), "rp_engine_stats");
    printf("[%llu tokens in %llu steps]\n", (unsigned long long)stats.generation_tokens,
           (unsigned long long)stats.steps);
    check(rp_engine_destroy(engine), "rp_engine_destroy");
    return 0;
}
