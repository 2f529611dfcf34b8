//! A tool that the model may call, whatever protocol it was offered in.

use serde_json::{Map, Value, json};

use crate::job::{AnswerShape, GenerationJob, OfferedFunction};

/// A function that the model may call.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct OfferedTool {
    /// The name by which it is called; not empty.
    pub(crate) name: String,
    /// What it does.
    pub(crate) description: Option<String>,
    /// The schema of its arguments; without one it takes any object.
    pub(crate) parameters: Option<Value>,
}

impl OfferedTool {
    /// The tool as chat templates take it: as OpenAI's API has it.
    fn value(self) -> Value {
        let mut function = Map::new();
        function.insert("name".into(), self.name.into());
        if let Some(description) = self.description {
            function.insert("description".into(), description.into());
        }
        if let Some(parameters) = self.parameters {
            function.insert("parameters".into(), parameters);
        }
        json!({ "type": "function", "function": function })
    }
}

/// The model may call these tools: their calls are looked for in the answer to `job`.
pub(crate) fn offer(job: &mut GenerationJob, tools: &[OfferedTool]) {
    let function = |tool: &OfferedTool| OfferedFunction {
        name: tool.name.clone(),
        parameters: tool.parameters.clone(),
    };
    job.tools = !tools.is_empty();
    job.offered = tools.iter().map(function).collect();
}

/// The tools as chat templates take them; `None` if there are none.
pub(crate) fn for_template(tools: Vec<OfferedTool>) -> Option<Value> {
    if tools.is_empty() {
        return None;
    }
    Some(tools.into_iter().map(OfferedTool::value).collect())
}

/// The shape of an answer that is a call of one of these tools.
pub(crate) fn call_of(tools: &[OfferedTool]) -> AnswerShape {
    let call = |tool: &OfferedTool| {
        let any = || json!({ "type": "object" });
        let parameters = tool.parameters.clone().unwrap_or_else(any);
        (tool.name.clone(), parameters)
    };
    AnswerShape::Call(tools.iter().map(call).collect())
}
