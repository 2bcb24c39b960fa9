// Which chat templates are taken for a family: published ones are, and what does more is refused by name.
#include <doctest/doctest.h>

#include <string>

#include "tests/tokenizer/goldens.h"
#include "tokenizer/chat_template.h"
#include "tokenizer/error.h"

using namespace thinker;
using thinker::test::golden_path;
using thinker::test::read_jsonl;

namespace {

ChatTemplate recognise(const std::string& source) {
  TokenizerSpec spec;
  spec.chat_template = source;
  return recognise_chat_template(spec);
}

// What a refused template does, "" if it is taken.
std::string refusal(const std::string& source) {
  try {
    recognise(source);
    return "";
  } catch (const TokenizerError& error) {
    const std::string text = error.what();
    CHECK(text.find('\n') == std::string::npos);
    return text;
  }
}

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

std::string replaced(std::string text, const std::string& from, const std::string& to) {
  REQUIRE(has(text, from));
  return text.replace(text.find(from), from.size(), to);
}

// OpenHermes-2.5's, and with real newlines TRL's setup_chat_format.
const std::string kChatML =
    R"jinja({% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %})jinja";

const std::string kSmolLM2 =
    R"jinja({% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system
You are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>
' }}{% endif %}{{'<|im_start|>' + message['role'] + '
' + message['content'] + '<|im_end|>' + '
'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant
' }}{% endif %})jinja";

const std::string kQwen25 = R"jinja({%- if tools %}
    {{- '<|im_start|>system\n' }}
    {%- if messages[0]['role'] == 'system' %}
        {{- messages[0]['content'] }}
    {%- else %}
        {{- 'You are Qwen, created by Alibaba Cloud. You are a helpful assistant.' }}
    {%- endif %}
    {{- "\n\n# Tools\n\nYou may call one or more functions to assist with the user query.\n\n<tools>" }}
    {%- for tool in tools %}
        {{- "\n" }}
        {{- tool | tojson }}
    {%- endfor %}
    {{- "\n</tools>\n\nFor each call:\n{\"name\": <function-name>}\n</tool_call><|im_end|>\n" }}
{%- else %}
    {%- if messages[0]['role'] == 'system' %}
        {{- '<|im_start|>system\n' + messages[0]['content'] + '<|im_end|>\n' }}
    {%- else %}
        {{- '<|im_start|>system\nYou are Qwen, created by Alibaba Cloud. You are a helpful assistant.<|im_end|>\n' }}
    {%- endif %}
{%- endif %}
{%- for message in messages %}
    {%- if (message.role == "user") or (message.role == "system" and not loop.first) or (message.role == "assistant" and not message.tool_calls) %}
        {{- '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>' + '\n' }}
    {%- elif message.role == "assistant" %}
        {{- '<|im_start|>' + message.role }}
        {%- if message.content %}
            {{- '\n' + message.content }}
        {%- endif %}
        {%- for tool_call in message.tool_calls %}
            {%- if tool_call.function is defined %}
                {%- set tool_call = tool_call.function %}
            {%- endif %}
            {{- '\n<tool_call>\n{"name": "' }}
            {{- tool_call.name }}
            {{- '", "arguments": ' }}
            {{- tool_call.arguments | tojson }}
            {{- '}\n</tool_call>' }}
        {%- endfor %}
        {{- '<|im_end|>\n' }}
    {%- elif message.role == "tool" %}
        {%- if (loop.index0 == 0) or (messages[loop.index0 - 1].role != "tool") %}
            {{- '<|im_start|>user' }}
        {%- endif %}
        {{- '\n<tool_response>\n' }}
        {{- message.content }}
        {{- '\n</tool_response>' }}
        {%- if loop.last or (messages[loop.index0 + 1].role != "tool") %}
            {{- '<|im_end|>\n' }}
        {%- endif %}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\n' }}
{%- endif %}
)jinja";

// vLLM's, without a newline at a turn's end where the chat ends there.
const std::string kRoleByRole = R"jinja({%- for message in messages -%}
  {%- if message['role'] == 'system' -%}
    {{- '<|im_start|>system\n' + message['content'] + '<|im_end|>\n' -}}
  {%- elif message['role'] == 'user' -%}
    {{- '<|im_start|>user\n' + message['content'] + '<|im_end|>\n' -}}
  {%- else -%}
    {{- '<|im_start|>assistant\n' }}{% generation %}{{ message['content'] + '<|im_end|>\n' }}{% endgeneration %}
  {%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\n' -}}{%- endif -%})jinja";

const std::string kRawText = R"jinja({# a comment #}
{% for message in messages %}
<|im_start|>{{ message.role }}
{{ message.content }}<|im_end|>
{% endfor %}
{% if add_generation_prompt %}
<|im_start|>assistant
{% endif %}
)jinja";

const std::string kLlama3 =
    R"jinja({% set loop_messages = messages %}{% for message in loop_messages %}{% set content = '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n'+ message['content'] | trim + '<|eot_id|>' %}{% if loop.index0 == 0 %}{% set content = bos_token + content %}{% endif %}{{ content }}{% endfor %}{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %})jinja";

// Llama-3.1-Instruct's; 3.2's asks the clock besides, and has no builtin tools.
const std::string kLlama31 = R"jinja({{- bos_token }}
{%- if custom_tools is defined %}
    {%- set tools = custom_tools %}
{%- endif %}
{%- if not tools_in_user_message is defined %}
    {%- set tools_in_user_message = true %}
{%- endif %}
{%- if not date_string is defined %}
    {%- set date_string = "26 Jul 2024" %}
{%- endif %}
{%- if not tools is defined %}
    {%- set tools = none %}
{%- endif %}

{#- This block extracts the system message, so we can slot it into the right place. #}
{%- if messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content']|trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system_message = "" %}
{%- endif %}

{#- System message + builtin tools #}
{{- "<|start_header_id|>system<|end_header_id|>\n\n" }}
{%- if builtin_tools is defined or tools is not none %}
    {{- "Environment: ipython\n" }}
{%- endif %}
{%- if builtin_tools is defined %}
    {{- "Tools: " + builtin_tools | reject('equalto', 'code_interpreter') | join(", ") + "\n\n"}}
{%- endif %}
{{- "Cutting Knowledge Date: December 2023\n" }}
{{- "Today Date: " + date_string + "\n\n" }}
{%- if tools is not none and not tools_in_user_message %}
    {{- "You have access to the following functions. Do not use variables.\n\n" }}
    {%- for t in tools %}
        {{- t | tojson(indent=4) }}
        {{- "\n\n" }}
    {%- endfor %}
{%- endif %}
{{- system_message }}
{{- "<|eot_id|>" }}

{#- Custom tools are passed in a user message with some extra guidance #}
{%- if tools_in_user_message and not tools is none %}
    {%- if messages | length != 0 %}
        {%- set first_user_message = messages[0]['content']|trim %}
        {%- set messages = messages[1:] %}
    {%- else %}
        {{- raise_exception("Cannot put tools in the first user message when there's no first user message!") }}
{%- endif %}
    {{- '<|start_header_id|>user<|end_header_id|>\n\n' -}}
    {{- "Given the following functions, please respond with a JSON for a function call " }}
    {{- 'Respond in the format {"name": function name, "parameters": dictionary of argument name and its value}.' }}
    {{- first_user_message + "<|eot_id|>"}}
{%- endif %}

{%- for message in messages %}
    {%- if not (message.role == 'ipython' or message.role == 'tool' or 'tool_calls' in message) %}
        {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n'+ message['content'] | trim + '<|eot_id|>' }}
    {%- elif 'tool_calls' in message %}
        {%- set tool_call = message.tool_calls[0].function %}
        {%- if builtin_tools is defined and tool_call.name in builtin_tools %}
            {{- '<|start_header_id|>assistant<|end_header_id|>\n\n' -}}
            {{- "<|python_tag|>" + tool_call.name + ".call(" }}
            {%- for arg_name, arg_val in tool_call.arguments | items %}
                {{- arg_name + '="' + arg_val + '"' }}
            {%- endfor %}
            {{- ")" }}
        {%- endif %}
        {%- if builtin_tools is defined %}
            {#- This means we're in ipython mode #}
            {{- "<|eom_id|>" }}
        {%- else %}
            {{- "<|eot_id|>" }}
        {%- endif %}
    {%- elif message.role == "tool" or message.role == "ipython" %}
        {{- "<|start_header_id|>ipython<|end_header_id|>\n\n" }}
        {%- if message.content is mapping or message.content is iterable %}
            {{- message.content | tojson }}
        {%- else %}
            {{- message.content }}
        {%- endif %}
        {{- "<|eot_id|>" }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start_header_id|>assistant<|end_header_id|>\n\n' }}
{%- endif %}
)jinja";

const std::string kLlama2 =
    R"jinja({% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}{% set system_message = messages[0]['content'] %}{% else %}{% set loop_messages = messages %}{% set system_message = false %}{% endif %}{% for message in loop_messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}{% if loop.index0 == 0 and system_message != false %}{% set content = '<<SYS>>\n' + system_message + '\n<</SYS>>\n\n' + message['content'] %}{% else %}{% set content = message['content'] %}{% endif %}{% if message['role'] == 'user' %}{{ bos_token + '[INST] ' + content.strip() + ' [/INST]' }}{% elif message['role'] == 'assistant' %}{{ ' '  + content.strip() + ' ' + eos_token }}{% endif %}{% endfor %})jinja";

}  // namespace

TEST_CASE("published chat templates belong to their families") {
  CHECK(refusal(kChatML) == "");
  CHECK(refusal(replaced(replaced(kChatML, R"(\n)", "\n"), R"('\n')", "'\n'")) == "");
  CHECK(refusal("{{bos_token}}" + kChatML) == "");
  CHECK(recognise("{{bos_token}}" + kChatML).writes_bos);
  CHECK(!recognise("{% if bos_token is defined %}{% endif %}" + kChatML).writes_bos);
  CHECK(recognise(kSmolLM2).default_system == "You are a helpful AI assistant named SmolLM, trained by Hugging Face");
  CHECK(refusal(kQwen25) == "");
  CHECK(recognise(kQwen25).default_system == "You are Qwen, created by Alibaba Cloud. You are a helpful assistant.");
  for (const std::string& chatml : {kChatML, kRoleByRole, kRawText}) {
    CHECK(refusal(chatml) == "");
    CHECK(recognise(chatml).family == ChatFamily::ChatML);
    CHECK(!recognise(chatml).trims);
    CHECK(!recognise(chatml).default_system);
  }
  CHECK(refusal(kLlama3) == "");
  CHECK(recognise(kLlama3).family == ChatFamily::Llama3);
  CHECK(recognise(kLlama3).system_preamble.empty());
  const std::string preamble = "Cutting Knowledge Date: December 2023\nToday Date: 26 Jul 2024\n\n";
  CHECK(refusal(kLlama31) == "");
  CHECK(recognise(kLlama31).system_preamble == preamble);
  const std::string with_clock = replaced(kLlama31, R"({%- set date_string = "26 Jul 2024" %})",
                                          R"({%- if strftime_now is defined %}
        {%- set date_string = strftime_now("%d %b %Y") %}
    {%- else %}
        {%- set date_string = "26 Jul 2024" %}
    {%- endif %})");
  CHECK(recognise(with_clock).system_preamble == preamble);
  CHECK(recognise(replaced(kLlama31, "26 Jul 2024", "26 July 2024")).system_preamble ==
        "Cutting Knowledge Date: December 2023\nToday Date: 26 July 2024\n\n");
  CHECK(refusal(kLlama2) == "");
  CHECK(recognise(kLlama2).family == ChatFamily::Llama2);
  for (const std::string& trims : {kLlama3, kLlama31, kLlama2}) {
    CHECK(recognise(trims).trims);
    CHECK(recognise(trims).writes_bos);
  }
  const auto file = read_jsonl(golden_path("chat_templates.jsonl"));  // outlives the loop over a part of it
  const auto& templates = file.at(0).at("templates");
  CHECK(templates.size() == 8);
  for (const auto& golden : templates) CHECK(refusal(golden) == "");
}

TEST_CASE("a template that does more than its family is refused, and the error says what it does") {
  const struct {
    const std::string &source, from, to, expected;
  } cases[] = {
      // Words that change messages.
      {kChatML, "message['content']", "message['content'].split('</think>')[-1]", "(it has \"</think>\")"},
      {kChatML, "message['content']", "message['content'].strip()", "(it has \"strip(\")"},
      {kChatML, "message['content']", "(message['content'] | trim)", "(it has \"trim\")"},
      {kLlama3, "message['content'] | trim", "message['content'].replace('a', 'b')", "(it has \"replace(\")"},
      {kLlama2, "message['content']", "message.reasoning_content", "(it has \"reasoning_content\")"},
      {kQwen25, "'<|im_start|>assistant\\n'", "'<|im_start|>assistant\\n<think>\\n'", "(it has \"<think>\")"},
      // Tokens of another family: Phi-4's.
      {kChatML, "message['role'] + '\\n'", "message['role'] + '<|im_sep|>'", "writes the token <|im_sep|>"},
      {kLlama3, "'<|eot_id|>'", "'<|eom_id|>' + '<|eot_id|>'", "writes the token <|eom_id|>"},
      // Text of the template's own.
      {kChatML, "assistant\\n", "assistant\\nSure", "but writes \"assistant\\nSure\""},
      {kLlama3, "assistant<|end_header_id|>\\n\\n", "assistant<|end_header_id|>\\n\\nSure", "Sure\""},
      {kRoleByRole, "user\\n' + ", "user\\nTask: check this. ' + ", "writes \"Task: check this. {content}\""},
      {kChatML, "message['content']", "message['content'] + ' /no'", "writes \"{content} /no\" as a message"},
      {kLlama31, "\"Cutting", "\"You are Bob. Cutting", "writes \"You are Bob. Cutting"},
      {kLlama31, "December 2023", "March 2024", "writes \"Cutting Knowledge Date: March 2024"},
      {kLlama2, "'[INST] '", "'[INST] Task: '", "writes \"{bos}[INST] Task: {trimmed content} [/INST]"},
      {kChatML, "{% endfor %}", "{% endfor %}{{ 'Be kind.' }}",
       "does not end a turn with \"<|im_end|>\\n\" but writes"},
      // Turns that end or begin otherwise.
      {kChatML, "'<|im_end|>' + '\\n'", "'<|im_end|>'", "does not end a turn with \"<|im_end|>\\n\""},
      {kLlama3, "'<|eot_id|>'", "'<|eot_id|>\\n'", "does not end a turn"},
      {kChatML, "{{'<|im_start|>'", "{{bos_token + '<|im_start|>'", "writes \"{bos}\" outside the turns"},
      {kLlama2, "{{ bos_token + '[INST] '", "{{ '<s>' + '[INST] '", "writes \"<s>[INST]"},
      {kRoleByRole, "'<|im_start|>user", "'<|im_start|>human", "as a message of the role human"},
      {kChatML, "{% for", "{{ 'Hi.' }}{% for", "writes \"Hi.\" outside the turns"},
      // System messages of the template's own.
      {kSmolLM2, "{% if loop.first and messages[0]['role'] != 'system' %}", "{% if loop.first %}",
       "writes a system turn of its own in every chat"},
      {kQwen25, "{%- for message", "{%- set default_system_message = 'You are Bob.' %}{%- for message",
       "sets default_system_message = 'You are Bob.'"},
      {kLlama3, "{% set loop_messages", "{{ '<|start_header_id|>system<|end_header_id|>\\n\\nBob<|eot_id|>' }}{% set x",
       "writes \"Bob\" as a message of the role system"},
      // Parts of messages, of chats, and what only a run could tell.
      {kChatML, "message['content']", "message['content'][:9]", "writes message['content'][:9]"},
      {kChatML, "message['content']", "message['content'] | upper", "writes message['content'] | upper"},
      {kChatML, "in messages", "in messages[-3:]", "goes through message in messages[-3:]"},
      {kChatML, "in messages", "in messages if message.good", "goes through message in messages if"},
      {kLlama31, "set messages = messages[1:]", "set messages = messages[2:]", "makes use of messages[2:]"},
      {kLlama31, "messages[0]['content']|trim", "messages[0]['content']", "trims the contents of some roles only"},
      {kLlama2, "messages[0]['content']", "messages[0]['content'].strip()", "writes \"<<SYS>>"},
      {kRoleByRole, "{%- if message['role'] == 'system' -%}", "{%- if false -%}{%- elif message['role'] == 'tool' -%}",
       "does not write messages of the role system"},
      {kChatML, "{% for", "{% macro m() %}{% endmacro %}{% for", "has the statement macro m()"},
      {kChatML, "message['content']", "render(message)", "writes render(message)"},
      {kChatML, "message['content']", "greeting", "writes greeting"},
      {kChatML, "{% endif %}", "{% endif", "has a tag that does not end"},
      {kChatML, "{% endif %}", "{% endif %}{% endif %}", "has an endif without its beginning"},
  };
  for (const auto& c : cases) {
    const std::string error = refusal(replaced(c.source, c.from, c.to));
    CAPTURE(c.to);
    CAPTURE(error);
    CHECK(has(error, c.expected));
    CHECK(has(error, "the chat template looks like "));
    CHECK(has(error, ", which is not supported: "));
  }
  CHECK(has(refusal("{{ '<|im_start|>' }}{{ '<|im_end|>"), "has a string that does not end"));
  CHECK(has(refusal(kChatML + std::string(1 << 16, ' ')), "is longer than 64 KiB"));
  std::string blocks = kChatML;
  for (int i = 0; i < 1000; ++i) blocks = "{% if x %}" + blocks;
  CHECK(has(refusal(blocks), "nests more than 64 blocks"));
  const std::string parentheses = std::string(1000, '(') + "'a'" + std::string(1000, ')');
  CHECK(has(refusal(replaced(kChatML, "message['content']", parentheses)), "nests more than 64 brackets"));
}
