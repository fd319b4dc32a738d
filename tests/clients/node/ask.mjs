// Asks the service with the official client and prints what came, as one JSON object.
import OpenAI from "openai";

const [model, embedder] = [process.env.MODEL, process.env.EMBEDDER];
const client = new OpenAI({ baseURL: process.env.URL, apiKey: process.env.KEY, maxRetries: 0 });
// With a question it asks only that (a real model); without one it tries everything (the fake engine).
const question = process.argv[2];
const messages = [{ role: "user", content: question ?? "모두의 AI란?" }];
const how = question ? { temperature: 0 } : {}; // a real model shall say the same each time
const tools = [{ type: "function", function: { name: "weather", parameters: { type: "object", properties: {} } } }];
const told = {};

const whole = await client.chat.completions.create({ model, messages, ...how });
told.chat = { text: whole.choices[0].message.content, tokens: whole.usage.completion_tokens };

let text = "";
let usage = null;
const stream = await client.chat.completions.create({
  model,
  messages,
  ...how,
  stream: true,
  stream_options: { include_usage: true },
});
for await (const part of stream) {
  text += part.choices[0]?.delta?.content ?? "";
  usage = part.usage ?? usage;
}
told.stream = { text, tokens: usage.completion_tokens };
if (question) {
  console.log(JSON.stringify(told));
  process.exit(0);
}

const called = await client.chat.completions.create({ model, messages, tools });
told.tool = called.choices[0].message.tool_calls[0].function.name;

const format = { type: "json_schema", json_schema: { name: "a", schema: { type: "object" } } };
const shaped = await client.chat.completions.create({ model, messages, response_format: format });
told.shaped = JSON.parse(shaped.choices[0].message.content);

const several = await client.chat.completions.create({ model, messages, n: 2, logprobs: true });
told.several = several.choices.map((choice) => choice.logprobs.content.length);

const vectors = await client.embeddings.create({ model: embedder, input: ["하나", "둘"] });
told.vectors = vectors.data.map((one) => one.embedding.length);

told.models = [];
for await (const one of client.models.list()) told.models.push(one.id);

const errors = {};
for (const [name, ask] of Object.entries({
  model: () => client.chat.completions.create({ model: "no-such-model", messages }),
  key: () => client.withOptions({ apiKey: "modu-wrong" }).models.list(),
  choices: () => client.chat.completions.create({ model, messages, n: 10000 }),
})) {
  try {
    await ask();
    errors[name] = "none";
  } catch (error) {
    errors[name] = `${error.constructor.name} ${error.status} ${error.code}`;
  }
}
told.errors = errors;

const long = await client.chat.completions.create({
  model,
  messages,
  stream: true,
  x_fake: { chunks: 10000, pace_s: 0.01 },
});
for await (const part of long) {
  long.controller.abort();
  break;
}
console.log(JSON.stringify(told));
